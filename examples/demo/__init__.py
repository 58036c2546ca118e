"""A price ticker, the clients that visit it, and the telemetry of each of them."""
