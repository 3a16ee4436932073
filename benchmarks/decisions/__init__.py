"""What thresholds and decisions promise, held against people who took no part in them: one module per scenario."""
