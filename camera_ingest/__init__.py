"""Cameras in, tracklets out: sources, sampling, the newest frame only, the encoder's stream, tracks, the gallery's stream."""
