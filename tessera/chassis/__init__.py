"""What every service stands on: settings, logs, metrics, status codes, servers, channels, shutdown."""
