"""Alerts: rules, the outbox, and the way from a camera to a receiver, measured on what runs in the product."""
