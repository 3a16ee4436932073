"""Tells people and machines of alerts, from a durable outbox: at least once, and never an old event as a new one."""
