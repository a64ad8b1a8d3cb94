"""Detect the faces in a photograph, choose one, and align it as FFHQ does.

Faces are numbered from left to right. A face's square is what ``square`` cuts out.
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

MIN_SIDE = 64  # pixels: smaller photos and faces are refused
SEARCH_SIDES = (1024, 2048)  # dlib detects faces above 80 pixels, so search twice
CLEAR_FACE = 0.3  # dlib's score above which a detection is not doubtful


def find_faces(photo: Tensor, faces: HeldOutFaces) -> list[Box]:
    """Boxes of the faces in a photo (1, 3, H, W), left to right, in its pixels.

    Large photos are searched at reduced size first, small ones enlarged. Doubtful
    detections (perhaps a patch of cloth) count only if there is no clear face.
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


class PhotoFace(NamedTuple):
    """A face in a photo: dlib's box and the FFHQ square (4, 2), in pixels."""

    box: Box
    quad: np.ndarray

    @classmethod
    def of_square(cls, quad: np.ndarray) -> PhotoFace:
        """A face of which only the square is known; its box is the usual one."""
        (x, y), side = quad.mean(0), np.linalg.norm(quad[3] - quad[0])
        left, top, right, bottom = (side * (edge - 0.5) for edge in ALIGNED_BOX)
        return cls((x + left, y + top, x + right, y + bottom), quad)


def find_squares(
    photo: Tensor, faces: HeldOutFaces, known: Sequence[np.ndarray] = ()
) -> list[PhotoFace]:
    """The faces in a photo (1, 3, H, W), left to right.

    ``known`` squares (4, 2) are taken as they are, and replace detections there.

    Raises:
        ImageError: not one RGB photo, or too small to show a face.
    """
    if photo.ndim != 4 or photo.shape[:2] != (1, 3):
        raise ImageError(
            f"expected one photo (1, 3, H, W), got {tuple(photo.shape)}; pass one RGB "
            "photo at a time."
        )
    height, width = photo.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            f"the photo is {width} x {height} pixels; at least {MIN_SIDE} x "
            f"{MIN_SIDE} are needed: use a larger copy."
        )
    squares = [PhotoFace.of_square(quad) for quad in known]
    levels = to_uint8(photo)[0]
    for box in find_faces(photo, faces):
        try:
            quad = ffhq_quad(faces.locate(levels, box) + 0.5)
        except ImageError:  # not a face: its landmarks are degenerate
            continue
        if not same_face(quad, known).any():
            squares.append(PhotoFace(box, quad))
    return sorted(squares, key=lambda face: face.box)


def align(
    photo: Tensor,
    size: int = 1024,
    face: int | None = None,
    *,
    faces: HeldOutFaces | None = None,
    known: Sequence[np.ndarray] = (),
) -> Aligned:
    """Detect a face and crop it as FFHQ does.

    Args:
        photo: (1, 3, H, W), RGB in [-1, 1] or uint8.
        size: side of the crop in pixels.
        face: which face, counted from 0, left to right; needed only if the photo
            shows several.
        faces: detector and landmarks, loaded here if not given.
        known: squares (4, 2) of faces that need not be detected.

    Raises:
        ImageError: no face, several and none chosen, or too small.
    """
    squares = find_squares(photo, faces or load_held_out_faces(), known)
    quad = choose(squares, face).quad
    return crop(photo, quad, size).beside([other.quad for other in squares])


def choose(squares: Sequence[PhotoFace], face: int | None) -> PhotoFace:
    """Face number ``face`` of those in a photo; errors as for ``align``."""
    if not squares:
        raise ImageError(
            "no face was found; use an upright photo of a face that looks towards "
            f"the camera and is at least {MIN_SIDE} pixels wide."
        )
    if face is None and len(squares) == 1:
        face = 0
    if face is None or not 0 <= face < len(squares):
        number = "" if face is None else f" and none has number {face}"
        raise ImageError(
            f"the photo shows {len(squares)} face(s){number}; choose one with --face "
            f"N, counted from the left ({list_boxes([f.box for f in squares])})."
        )
    left, _, right, _ = squares[face].box
    if right - left < MIN_SIDE:
        raise ImageError(
            f"the face is only {right - left:.0f} pixels wide, at least "
            f"{MIN_SIDE} are needed: use a larger or closer photo."
        )
    return squares[face]


def list_boxes(boxes: Sequence[Box]) -> str:
    """Numbered positions of faces, for messages."""
    return "; ".join(
        f"{i}: x {box[0]:.0f}-{box[2]:.0f}, y {box[1]:.0f}-{box[3]:.0f}"
        for i, box in enumerate(boxes)
    )
