"""Photographs: files, faces, alignment, and pasting back."""
