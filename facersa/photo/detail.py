"""The face of the photograph itself, small enough to travel beside its code.

The generator paints nobody exactly: an inversion is near the person and is not the
person. What it could not paint is the photograph's detail. The square of the face, with
all but the painted oval greyed, is kept as a small picture; who decrypts gets that.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facersa.errors import ImageError
from facersa.photo.blend import BEYOND, ovalness, readable
from facersa.photo.images import decode_image, resize, webp_bytes
from facersa.photo.square import Aligned, unit_grid

SIDE = 512  # pixels at most
QUALITY = 92  # of WebP: 43 faces of 218 to 512 pixels took 4 to 14 kilobytes
KIND = b"RIFF", b"WEBP"


def detail_of(aligned: Aligned) -> bytes:
    """The face in its square (``aligned.image``), where its oval is painted.

    Nothing of other faces is kept: they have passwords of their own.
    """
    side = min(SIDE, aligned.image.shape[-1], max(16, round(aligned.side)))
    unit = unit_grid(side)
    inside = (ovalness(unit, aligned.oval) < BEYOND) & readable(unit, aligned)
    face = resize(aligned.image, side)
    return webp_bytes(torch.where(inside, face, 0.0), quality=QUALITY)


def read_detail(data: bytes) -> Tensor:
    """What ``detail_of`` wrote: (1, 3, S, S) in [-1, 1].

    Raises:
        ImageError: anything else.
    """
    if (data[:4], data[8:12]) != KIND:
        raise ImageError(
            "the face in this file is no WebP picture: it is damaged or forged; get an "
            "intact copy."
        )
    face = decode_image(data, name="the face in this file")
    if face.shape[-1] != face.shape[-2] or face.shape[-1] > SIDE:
        raise ImageError(
            f"the face in this file is {face.shape[-1]} x {face.shape[-2]} pixels, not "
            f"a square of at most {SIDE}: it is damaged or forged; get an intact copy."
        )
    return face
