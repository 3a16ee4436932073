"""What a trained embedder is worth: figures with intervals, pictures, attacks, explanations, one page.

Takes embeddings and labels as plain arrays, and a network only where gradients are needed. Trains nothing and chooses
nothing: thresholds come from validation pairs, and what the data cannot say is said on the page.
"""
