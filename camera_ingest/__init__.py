"""Cameras in, tracklets out: sources, sampling, the newest frame alone, the encoder's stream, tracks, the gallery's."""
