"""Person detection and re-identification against what was asked of them."""
