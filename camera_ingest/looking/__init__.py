"""What is looked at: between a sampled picture and the backlog. Knows pictures; no stream, no store, no message."""
