"""The Grafana dashboards as code: `python -m deploy.grafana.write` writes `dashboards/*.json`."""
