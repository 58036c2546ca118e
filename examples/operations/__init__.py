"""The operator's kit: Jaeger, Prometheus and Alertmanager around the demo's server."""
