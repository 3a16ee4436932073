"""Tessera: two halves that fit together prove who you are."""

__version__ = "0.1.0"
