"""What the gallery's store and index do against their peers and their own promises: one module per scenario."""
