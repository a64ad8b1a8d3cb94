"""Detect the faces in a photograph, choose one, and align it as FFHQ does.

Two detectors look for them, so that none is overlooked: dlib's, which was made for
faces that look into the camera, and BlazeFace. Faces are numbered from left to right. A
face's square is what ``square`` cuts out.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from torch import Tensor

from facersa.errors import ImageError
from facersa.photo.blazeface import UNSURE, BlazeFace, Found, share_inside
from facersa.photo.blend import fit_oval
from facersa.photo.faces import ALIGNED_BOX, Box, HeldOutFaces, load_held_out_faces
from facersa.photo.images import to_uint8
from facersa.photo.square import Aligned, crop, ffhq_quad, rescale, same_face

MIN_SIDE = 64  # pixels: smaller photos and faces are refused
SEARCH_SIDES = (1024, 2048)  # dlib detects faces above 80 pixels, so search twice
CLEAR_FACE = 0.3  # dlib's score above which a detection is not doubtful
SAME_BOX = 0.3  # intersection over union from which two boxes are one face
DLIB_BOX: Box = (0.045, 0.072, 0.976, 0.977)  # dlib's in BlazeFace's, in the median
# A face is seen from the side, where landmarks to align it by are missing, if its eyes
# are this near to one another, in boxes, or the tip of its nose is beyond these places
# on the way from one eye (0) to the other (1).
NEAR_EYES = 0.28
BESIDE_EYES = (-0.25, 1.25)
# What BlazeFace alone sees narrower than this, in pixels, is no face that could be
# recognised, and mostly none at all: in 50 photographs without near faces, windows
# and snow.
SMALLEST = 24
SMALLEST_CUT = 48  # one that is cut by the picture's edge: half of it shows
# Share of a face's box in the picture below which the picture's edge cuts it.
WHOLE = 0.75
# Mean distance of dlib's eyes, nose and mouth from BlazeFace's, in boxes.
MISPLACED = 0.2


def find_faces(photo: Tensor, faces: HeldOutFaces, doubtful: bool = True) -> list[Box]:
    """Boxes of the faces in a photo (1, 3, H, W), left to right, in its pixels.

    Large photos are searched at reduced size first, small ones enlarged. Doubtful
    detections (perhaps a patch of cloth) count only if there is no clear face, and if
    they are asked for.
    """
    height, width = photo.shape[-2:]
    longest = max(height, width)
    sides = [n for n in SEARCH_SIDES if n == SEARCH_SIDES[0] or n <= 2 * longest]
    arrays = {}
    for sure in (CLEAR_FACE, 0.0) if doubtful else (CLEAR_FACE,):
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
    """A face in a photo: dlib's box and the FFHQ square (4, 2), in pixels.

    ``obstacle`` says why it cannot be encrypted; empty where it can. ``oval`` is the
    part of it that is painted, see ``blend``.
    """

    box: Box
    quad: np.ndarray
    obstacle: str = ""
    oval: tuple[int, ...] = ()

    @classmethod
    def of_square(cls, quad: np.ndarray) -> PhotoFace:
        """A face of which only the square is known; its box is the usual one."""
        (x, y), side = quad.mean(0), np.linalg.norm(quad[3] - quad[0])
        left, top, right, bottom = (side * (edge - 0.5) for edge in ALIGNED_BOX)
        return cls((x + left, y + top, x + right, y + bottom), quad)


def find_squares(
    photo: Tensor,
    faces: HeldOutFaces,
    known: Sequence[np.ndarray] = (),
    second: BlazeFace | None = None,
) -> list[PhotoFace]:
    """The faces in a photo (1, 3, H, W), left to right.

    ``known`` squares (4, 2) are taken as they are, and replace detections there. What
    the ``second`` detector finds counts as well.

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
    levels = to_uint8(photo)[0]
    seen = second.detect(levels) if second else []
    boxes: list[tuple[Box, Found | None]] = []
    for box in find_faces(photo, faces, doubtful=second is None):
        twin = next((one for one in seen if _overlap(box, one.box) > SAME_BOX), None)
        boxes.append((box, twin))
    twins = [id(twin) for _, twin in boxes]
    alone = [one for one in seen if id(one) not in twins and _counts(one, levels.shape)]
    boxes += [(_dlib_box(one.box), one) for one in alone]
    unsure = [id(one) for one in alone if one.score < UNSURE]
    squares = [PhotoFace.of_square(quad) for quad in known]
    for box, twin in boxes:
        found = _examine(levels, faces, box, twin)
        if found and not found.obstacle and id(twin) in unsure:
            found = found._replace(obstacle="perhaps no face at all", oval=())
        if found is not None and not same_face(found.quad, known).any():
            squares.append(found)
    return sorted(squares, key=lambda face: face.box)


def _examine(
    levels: np.ndarray, faces: HeldOutFaces, box: Box, twin: Found | None
) -> PhotoFace | None:
    """The square of a detected face, and what forbids to encrypt it.

    None if its landmarks are degenerate and dlib alone has found it: it is no face.
    """
    if share_inside(box, levels.shape) < WHOLE:
        return PhotoFace(box, _square_around(box), "cut by the edge of the picture")
    landmarks = faces.locate(levels, box) + 0.5
    try:
        quad = ffhq_quad(landmarks)
    except ImageError:
        if twin is None:
            return None
        return PhotoFace(box, _square_around(box), "covered or turned away")
    if (wide := box[2] - box[0]) < MIN_SIDE:
        return PhotoFace(box, quad, f"only {wide:.0f} pixels wide")
    if twin is not None:
        eyes = twin.points[1] - twin.points[0]
        apart = float(np.linalg.norm(eyes)) + 1e-9
        nose = float((twin.points[2] - twin.points[0]) @ eyes) / apart**2
        near = apart < NEAR_EYES * (twin.box[2] - twin.box[0])
        if near or not BESIDE_EYES[0] < nose < BESIDE_EYES[1]:
            return PhotoFace(box, quad, "seen from the side")
        parts = landmarks[36:42], landmarks[42:48], landmarks[30:31], landmarks[48:55:6]
        centres = np.stack([part.mean(0) for part in parts])
        error = np.linalg.norm(centres - twin.points[:4], axis=1).mean()
        if error > MISPLACED * wide:
            return PhotoFace(box, quad, "covered or turned away")
    return PhotoFace(box, quad, oval=fit_oval(landmarks, quad))


def _dlib_box(box: np.ndarray) -> Box:
    """Where dlib would have put its box for a face in BlazeFace's."""
    left, top, right, bottom = (float(side) for side in box)
    x, y = right - left, bottom - top
    a, b, c, d = DLIB_BOX
    return left + a * x, top + b * y, left + c * x, top + d * y


def _square_around(box: Box) -> np.ndarray:
    """The upright square (4, 2) in which an aligned face has its box there."""
    side = (box[2] - box[0]) / (ALIGNED_BOX[2] - ALIGNED_BOX[0])
    left, top = box[0] - ALIGNED_BOX[0] * side, box[1] - ALIGNED_BOX[1] * side
    corners = [(0, 0), (0, 1), (1, 1), (1, 0)]
    return np.array([[left + side * x, top + side * y] for x, y in corners])


def _counts(one: Found, shape: Sequence[int]) -> bool:
    """Whether a face that BlazeFace alone has found could be recognised."""
    cut = share_inside(one.box, shape) < WHOLE
    return float(one.box[2] - one.box[0]) >= (SMALLEST_CUT if cut else SMALLEST)


def _overlap(first: Sequence[float], second: Sequence[float] | np.ndarray) -> float:
    """Intersection over union of two boxes."""
    low = np.maximum(first[:2], second[:2])
    high = np.minimum(first[2:], second[2:])
    shared = float(np.prod(np.maximum(high - low, 0)))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return shared / max(float(sum(areas)) - shared, 1e-9)


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
        ImageError: no face, several and none chosen, or one that is too small, turned
            away or covered.
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
            f"N, counted from the left ({list_faces(squares)}), or crop the photo to "
            "one."
        )
    if squares[face].obstacle:
        raise ImageError(
            f"face {face} cannot be encrypted: it is {squares[face].obstacle}; use a "
            f"photo in which it is whole, at least {MIN_SIDE} pixels wide and looks "
            "more towards the camera, or --others to hide it for good."
        )
    return squares[face]


def list_faces(squares: Sequence[PhotoFace]) -> str:
    """Numbered positions of faces and what forbids to encrypt them, for messages."""
    notes = [f" ({face.obstacle})" if face.obstacle else "" for face in squares]
    return list_boxes([face.box for face in squares], notes)


def list_boxes(boxes: Sequence[Box], notes: Sequence[str] = ()) -> str:
    """Numbered positions of faces, each with its note, for messages."""
    return "; ".join(
        f"{i}: x {box[0]:.0f}-{box[2]:.0f}, y {box[1]:.0f}-{box[3]:.0f}{note}"
        for i, (box, note) in enumerate(zip_longest(boxes, notes, fillvalue=""))
    )
