"""A price ticker, the clients that visit it, and what the telemetry says about each of them."""
