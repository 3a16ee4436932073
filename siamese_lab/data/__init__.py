"""Pictures with labels, and what training makes of them: parts, pairs, triplets, variations, sheets to look at."""
