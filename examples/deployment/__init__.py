"""How to deploy: an application, its telemetry, and a process that ends without losing any."""
