"""The version of the package, also that of the instrumentation scope."""

__version__ = "0.2.0.dev0"
