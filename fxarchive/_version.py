"""The release of fxarchive; read by the build, so it imports nothing."""

__version__ = "0.5.0"
