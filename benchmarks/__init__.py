"""fxarchive measured against its peers, all in one run: ``python -m benchmarks``."""
