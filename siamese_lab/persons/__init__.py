"""The person encoder: its training on crops of people, and the tool that judges re-identification."""
