"""Codes to pictures, and the statistics of codes."""
