"""The errors a user can meet: what was expected, what came and what to do.

Every class is a ``ValueError``, so that code which does not know this package still
catches them. The command line prints the message as one line on standard error.
"""

from __future__ import annotations


class FaceRSAError(ValueError):
    """Base of every error this package raises on purpose."""


class FileError(FaceRSAError):
    """A file cannot be read or written."""


class ImageError(FaceRSAError):
    """A picture is damaged, or unsuitable for what is asked of it."""


class AssetError(FaceRSAError):
    """A pretrained file is missing, damaged or cannot be fetched."""


class PasswordError(FaceRSAError):
    """A password or a raw code is malformed."""


class SealedError(FaceRSAError):
    """A picture was not encrypted by this program, is damaged or lacks its code."""


class CheckpointError(FaceRSAError):
    """Saved training state or weights do not fit what reads them."""


class ExploreError(FaceRSAError):
    """An interactive figure, or a picture to show, is described wrongly."""
