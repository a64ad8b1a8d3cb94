"""Find the faces in a photograph, choose one, and align it as the generator knows it.

Faces are numbered from left to right. What a square is and cuts out, ``squares`` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from facersa.errors import ImageError
from facersa.photo.faces import ALIGNED_BOX, Box, HeldOutFaces, load_held_out_faces
from facersa.photo.images import to_uint8
from facersa.photo.square import Aligned, crop, ffhq_quad, rescale, same_face

MIN_SIDE = 64  # pixels: below, a photo or a face does not show a person

SEARCH_SIDES = (1024, 2048)  # dlib sees faces above 80 pixels, so look twice

CLEAR_FACE = 0.3  # on dlib's score


def find_faces(photo: Tensor, faces: HeldOutFaces) -> list[Box]:
    """Boxes of the faces in a photo (1, 3, H, W), left to right, in its pixels.

    Large photos are searched at reduced size first, small ones enlarged. Doubtful
    finds (a patch of cloth may be one) count only where no clear face is found.
    """
    height, width = photo.shape[-2:]
    longest = max(height, width)
    sides = [n for n in SEARCH_SIDES if n == SEARCH_SIDES[0] or n <= 2 * longest]
    arrays = {}
    for sure in (CLEAR_FACE, 0.0):
        for side in sides:
            if side not in arrays:
                scale = min(side / longest, 2.0)
                small = photo if abs(scale - 1) < 0.05 else rescale(photo, scale)
                arrays[side] = to_uint8(small)[0]
            boxes = faces.detect(arrays[side], sure)
            if boxes:
                rows, columns = arrays[side].shape[:2]
                x, y = width / columns, height / rows
                return [(x * b[0], y * b[1], x * b[2], y * b[3]) for b in boxes]
    return []


class Found(NamedTuple):
    """A face in a photo: its box and its FFHQ square (4, 2), in pixels."""

    box: Box
    quad: np.ndarray

    @classmethod
    def of_square(cls, quad: np.ndarray) -> Found:
        """A face of which only the square is known, with the usual box in it."""
        corner, side = quad.mean(0), np.linalg.norm(quad[3] - quad[0])
        left, top, right, bottom = (side * (edge - 0.5) for edge in ALIGNED_BOX)
        x, y = corner
        return cls((x + left, y + top, x + right, y + bottom), quad)


def find_squares(
    photo: Tensor, faces: HeldOutFaces, known: Sequence[np.ndarray] = ()
) -> list[Found]:
    """The faces in a photo (1, 3, H, W), left to right.

    ``known`` squares (4, 2) are taken as they are, instead of what is found there.

    Raises:
        ImageError: not one RGB photo, or too small to show a face.
    """
    if photo.ndim != 4 or photo.shape[:2] != (1, 3):
        raise ImageError(f"expected one photo (1, 3, H, W), got {tuple(photo.shape)}.")
    height, width = photo.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            f"the photo is {width} x {height} pixels; at least {MIN_SIDE} x "
            f"{MIN_SIDE} are needed: use a larger copy."
        )
    found = [Found.of_square(quad) for quad in known]
    levels = to_uint8(photo)[0]
    for box in find_faces(photo, faces):
        try:
            quad = ffhq_quad(faces.locate(levels, box) + 0.5)
        except ImageError:  # no face after all
            continue
        if not any(same_face(quad, other) for other in known):
            found.append(Found(box, quad))
    return sorted(found, key=lambda face: face.box)


def align(
    photo: Tensor,
    size: int = 1024,
    face: int | None = None,
    *,
    faces: HeldOutFaces | None = None,
    known: Sequence[np.ndarray] = (),
) -> Aligned:
    """Find a face and crop it as FFHQ does.

    Args:
        photo: (1, 3, H, W), RGB in [-1, 1].
        size: side of the crop in pixels.
        face: which face, counted from 0, left to right; needed only where a
            photo shows several.
        faces: detector and points, loaded here if not given.
        known: squares (4, 2) of faces that need not be looked for.

    Raises:
        ImageError: no face, several and none chosen, or too small.
    """
    found = find_squares(photo, faces or load_held_out_faces(), known)
    quad = choose(found, face).quad
    return crop(photo, quad, size).beside([other.quad for other in found])


def choose(found: Sequence[Found], face: int | None) -> Found:
    """Face number ``face`` of those in a photo; errors as for ``align``."""
    if not found:
        raise ImageError(
            "no face was found; use an upright photo of a face that looks towards "
            f"the camera and is at least {MIN_SIDE} pixels wide."
        )
    if face is None and len(found) == 1:
        face = 0
    if face is None or not 0 <= face < len(found):
        wish = "" if face is None else f" and none has number {face}"
        raise ImageError(
            f"the photo shows {len(found)} face(s){wish}; choose one with --face "
            f"N, counted from the left ({list_boxes([f.box for f in found])})."
        )
    left, _, right, _ = found[face].box
    if right - left < MIN_SIDE:
        raise ImageError(
            f"the face is only {right - left:.0f} pixels wide, at least "
            f"{MIN_SIDE} are needed: use a larger or closer photo."
        )
    return found[face]


def list_boxes(boxes: Sequence[Box]) -> str:
    """Numbered places of faces, for messages."""
    return "; ".join(
        f"{i}: x {box[0]:.0f}-{box[2]:.0f}, y {box[1]:.0f}-{box[3]:.0f}"
        for i, box in enumerate(boxes)
    )
