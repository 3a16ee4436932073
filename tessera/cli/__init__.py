"""The `tessera` command: one module for each group of commands, all of them over the Python SDK."""
