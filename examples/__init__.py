"""Programs to run and to copy from: `quickstart.py` is the shortest, `demo` shows everything."""
