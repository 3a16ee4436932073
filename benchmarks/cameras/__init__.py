"""Cameras: what an operator may expect of many of them, measured on the product as it is run."""
