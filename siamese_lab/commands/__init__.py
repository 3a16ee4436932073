"""The commands of `python -m siamese_lab`, a module each."""
