"""Frozen networks that judge pictures, and measures of what they say."""
