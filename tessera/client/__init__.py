"""The Python SDK: what the command line uses, and what services use to call each other."""
