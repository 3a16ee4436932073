"""What the words mean: embeddings, scores, thresholds, decisions. numpy and the standard library only."""
