"""``python -m fxarchive`` is the command ``fxarchive``."""

from fxarchive.cli import main

if __name__ == "__main__":
    main()
