"""The demo's people: who they are, and which pinned, freely usable photographs show them."""
