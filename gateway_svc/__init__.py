"""The gateway: notifications, REST and the console will live here. Nothing is built yet and nothing starts it."""
