"""Generated from proto/tessera/oip by `make proto`; committed, never edited."""
