"""Pictures to codes: encoders and a search."""
