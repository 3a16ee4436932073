"""What is kept of what was seen: best shots of tracklets and clips around events, sealed, for a while."""
