"""Dashboards for Grafana: `boards/` says which questions each answers; `make metrics` writes `dashboards/`."""
