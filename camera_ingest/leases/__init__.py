"""Who watches which camera: each by one worker at a time, under a lease with a token that grows."""
