"""Programs to run and to copy: `quickstart.py` is the shortest, `demo` shows everything."""
