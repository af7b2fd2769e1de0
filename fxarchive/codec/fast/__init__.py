"""Shortcuts through private names of torch, each checked once a process against the official path."""
