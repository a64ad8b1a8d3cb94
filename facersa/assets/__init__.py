"""Pretrained files: what they are, how they come here, how they are read."""
