"""The errors a user can meet: each message says what came and what to do.

Every class is a ``ValueError``, so callers that know nothing of this package
still catch them; the command line prints the message as its one line on
standard error.
"""

from __future__ import annotations


class FaceRSAError(ValueError):
    """Base of every error this package raises on purpose."""


class ImageError(FaceRSAError):
    """A picture cannot be read, is unsuitable, or cannot be written."""


class AssetError(FaceRSAError):
    """A pretrained file is missing, damaged or cannot be fetched."""


class PasswordError(FaceRSAError):
    """A password or a raw code is malformed."""


class SealedError(FaceRSAError):
    """An encrypted picture is not one of ours, is damaged or lacks its code."""


class CheckpointError(FaceRSAError):
    """Saved training state or weights do not fit what reads them."""


class ExploreError(FaceRSAError):
    """An interactive figure, or a picture to show, is described wrongly."""
