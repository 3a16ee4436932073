"""The Siamese lab: measuring and training encoders. So far: the calibration that the face encoder ships with."""
