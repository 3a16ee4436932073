"""Generated from proto/tessera/v1 by `make proto`; committed, never edited."""
