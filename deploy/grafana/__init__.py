"""Define the Grafana dashboards. `python -m deploy.grafana.write` writes `dashboards/*.json`."""
