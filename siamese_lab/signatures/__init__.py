"""Handwritten signatures: the data sets, the synthetic ones, the network, its training and its judging."""
