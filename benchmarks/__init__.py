"""Scenarios that print a table for people and write docs/results/NAME.json for machines."""
