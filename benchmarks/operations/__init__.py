"""Operations, measured: images, restarts, several encoders, what a plan says."""
