"""A picture with several encrypted faces: which is which, and what they share.

Every face has a chunk of its own, with its own salt, password and place. They share
the picture, the ground in it (see ``blending``), and the one mark that the pixels
hold: that of the first face in the file that was encrypted for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from facersa.errors import ImageError, SealedError
from facersa.photo.align import PhotoFace, list_boxes
from facersa.photo.images import read_png_chunks
from facersa.photo.square import Aligned, same_face
from facersa.sealing.chunk import CHUNK, Sealed, seal, unseal_all
from facersa.sealing.pixels import NONCE, write


def carries_code(data: bytes) -> bool:
    """Whether a file is a PNG with our chunk, so not a plain photograph."""
    try:
        return any(kind == CHUNK for kind, _ in read_png_chunks(data))
    except ImageError:
        return CHUNK in data[:64]  # a damaged one: it comes right after the header


def sealed_faces(data: bytes) -> list[Sealed]:
    """What a file carries, in its order: nothing where it is a plain photograph."""
    return unseal_all(data) if carries_code(data) else []


def place(sealed: Sealed) -> Aligned | None:
    """Where a face lies in its photograph; None where the face is all there is.

    Raises:
        ImageError: the geometry is damaged.
    """
    if not sealed.geometry:
        return None
    return Aligned.from_dict(sealed.geometry, torch.zeros(1, 3, 1, 1))


def squares(faces: Sequence[Sealed]) -> list[np.ndarray]:
    """Squares (4, 2) of all faces a file knows: encrypted, and beside those."""
    found: list[np.ndarray] = []
    places = [where for where in map(place, faces) if where is not None]
    for quad in [w.quad for w in places] + [q for w in places for q in w.others]:
        if not any(same_face(quad, other) for other in found):
            found.append(quad)
    return found


def from_the_left(faces: Sequence[Sealed]) -> list[int]:
    """Indices of the faces of a file, from left to right in the picture."""
    return sorted(range(len(faces)), key=lambda index: _found(faces[index]).box)


def pick(faces: Sequence[Sealed], face: int | None) -> int:
    """The index of encrypted face number ``face``, from the left, 0-based.

    Raises:
        SealedError: several and none chosen, or no such number.
    """
    order = from_the_left(faces)
    if face is None and len(order) == 1:
        return 0
    if face is None or not 0 <= face < len(order):
        wish = "" if face is None else f" and none has number {face}"
        where = list_boxes([_found(faces[index]).box for index in order])
        raise SealedError(
            f"the picture holds {len(order)} encrypted face(s){wish}; choose one with "
            f"--face N, counted from the left ({where})."
        )
    return order[face]


def _found(sealed: Sealed) -> PhotoFace:
    where = place(sealed)
    whole = np.array([[0.0, 0], [0, 1024], [1024, 1024], [1024, 0]])
    return PhotoFace.of_square(whole if where is None else where.quad)


def encrypted_as(faces: Sequence[Sealed], quad: np.ndarray) -> int | None:
    """The index of the face of a file that lies at ``quad`` (4, 2), if one does."""
    for index, sealed in enumerate(faces):
        where = place(sealed)
        if where is None or same_face(where.quad, quad):
            return index
    return None


def number_of(faces: Sequence[Sealed], quad: np.ndarray) -> int | None:
    """``encrypted_as``, counted as ``pick`` does: from the left."""
    index = encrypted_as(faces, quad)
    return None if index is None else from_the_left(faces).index(index)


def check_new(faces: Sequence[Sealed], quad: np.ndarray) -> None:
    """``SealedError`` if the face at ``quad`` (4, 2) is one of those of a file."""
    index = encrypted_as(faces, quad)
    if index is not None:
        cure = "decrypt it first"
        if faces[index].mode == "open":
            cure = "add your password with encrypt_again, or " + cure
        raise SealedError(f"this face is encrypted in the file already: {cure}.")


def check_mark(faces: Sequence[Sealed], new: int) -> None:
    """``SealedError`` if ``new`` more faces without a chunk do not fit the pixels."""
    if new + (marked(faces) is not None) > 1:
        raise SealedError(
            "the pixels hold the code of one face only, so the others need a chunk: "
            "use --chunk honey, or --no-pixels to give their codes up."
        )


def make_room(
    faces: Sequence[Sealed], aligned: Aligned
) -> tuple[list[Sealed], Aligned]:
    """Let the faces of a file and one more know of each other.

    Raises:
        SealedError: it is one of them.
    """
    check_new(faces, aligned.quad)
    informed = []
    for sealed in faces:
        where = place(sealed)
        if where is not None:
            geometry = sealed.geometry | where.beside([aligned.quad]).to_dict()
            sealed = replace(sealed, geometry=geometry)
        informed.append(sealed)
    return informed, aligned.beside(squares(faces))


def marked(faces: Sequence[Sealed]) -> Sealed | None:
    """The one of several faces whose code the pixels hold, if they are large enough."""
    return next((sealed for sealed in faces if sealed.nonce == NONCE), None)


def assemble(
    image: Tensor, faces: Sequence[Sealed], mark: Sealed | None
) -> tuple[bytes, Tensor, bool]:
    """A PNG of ``image`` (1, 3, H, W) with the chunks of ``faces`` and one mark.

    Returns:
        The file, the picture in it, and whether that was large enough for the mark.
    """
    written = None if mark is None else write(image, mark)
    image = image if written is None else written
    return seal(image, *faces), image, written is not None
