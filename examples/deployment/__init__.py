"""How to deploy: an application, its telemetry, and a process that loses none when it ends."""
