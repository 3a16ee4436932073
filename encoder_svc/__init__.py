"""Images in, observations out. It keeps nothing: no picture, no embedding, no name."""
