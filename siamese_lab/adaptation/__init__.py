"""A small head over a frozen encoder, learned from a deployment's own templates, and kept only where it helps."""
