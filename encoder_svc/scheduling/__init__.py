"""Whose work the device does next, and with whose it shares a batch. It knows nothing of pictures."""
