"""Records of torch's GraphPickler, of torch 2.7 to 2.15, translated to tables of schema 2; a file a family."""
