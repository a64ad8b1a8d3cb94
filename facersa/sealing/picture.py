"""An encrypted picture: the pixels, and every encrypted face the file knows of.

A file is parsed once into an ``EncryptedPicture``, which is then carried through
encryption and decryption. Every face has a chunk of its own, with its own salt,
password and place. The faces share the picture, the ground in it (see ``photo.paste``)
and the one mark that the pixels hold: that of the first face encrypted for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from facersa.errors import ImageError, SealedError
from facersa.generator.statistics import WStatistics
from facersa.photo.align import PhotoFace, list_boxes
from facersa.photo.faces import Box
from facersa.photo.images import decode_photo, read_png_chunks, to_float, to_levels
from facersa.photo.square import Aligned, same_face
from facersa.sealing.chunk import CHUNK, MAX_FACES, seal, unseal_all
from facersa.sealing.pixels import NONCE, find, write
from facersa.sealing.sealed import Sealed


@dataclass(frozen=True)
class EncryptedPicture:
    """A picture and the encrypted faces in it; none in a plain photograph.

    Attributes:
        photo: the pixels (1, 3, H, W), uint8.
        faces: in the order of the file.
        pixels_only: whether only the first face, read from the pixels, may be chosen.
    """

    photo: Tensor = field(repr=False)
    faces: tuple[Sealed, ...] = ()
    pixels_only: bool = False

    @classmethod
    def read(cls, data: bytes, *, name: str = "the file") -> EncryptedPicture:
        """Parse a picture file, encrypted or not; ``name`` is for errors.

        Raises:
            ImageError: not a picture.
            SealedError: its code is damaged, or a newer version made it.
        """
        faces = tuple(unseal_all(data)) if carries_code(data) else ()
        return cls(decode_photo(data, name=name), faces)

    @classmethod
    def read_encrypted(
        cls,
        data: bytes,
        *,
        name: str = "the file",
        from_pixels: bool = False,
        statistics: WStatistics | None = None,
    ) -> EncryptedPicture:
        """As ``read``, for a file in which a face is to be decrypted.

        Args:
            data: the file.
            name: of the file, for errors.
            from_pixels: take the face in the pixels, for a file without its chunk.
            statistics: of w; the shipped ones by default.

        Raises:
            ImageError: not a picture.
            SealedError: no encrypted face in it, or a damaged one.
        """
        if not from_pixels:
            faces = tuple(unseal_all(data))
            return cls(decode_photo(data, name=name), faces)
        photo = decode_photo(data, name=name)
        marked = find(photo, statistics)
        chunks = unseal_all(data) if carries_code(data) else []
        others = (sealed for sealed in chunks if sealed.salt != marked.salt)
        return cls(photo, (marked, *others), pixels_only=True)

    @classmethod
    def assemble(
        cls, image: Tensor, chunks: Sequence[Sealed], mark: Sealed | None
    ) -> tuple[EncryptedPicture, bool]:
        """``image`` (1, 3, H, W) with a chunk for each face, and one mark.

        Returns:
            The picture, and whether it was large enough for the mark.
        """
        photo = to_levels(image)
        marked = None if mark is None else write(photo, mark)
        photo = photo if marked is None else marked
        return cls(photo, tuple(chunks)), marked is not None

    @property
    def image(self) -> Tensor:
        """The picture, (1, 3, H, W) in [-1, 1]."""
        return to_float(self.photo)

    @cached_property
    def data(self) -> bytes:
        """The PNG file, written when first asked for."""
        return seal(self.photo, *self.faces)

    @cached_property
    def _places(self) -> list[Aligned | None]:
        return [place(sealed) for sealed in self.faces]

    @property
    def squares(self) -> list[np.ndarray]:
        """Squares (4, 2) of all known faces: encrypted, and beside those."""
        unique: list[np.ndarray] = []
        places = [where for where in self._places if where is not None]
        for quad in [w.quad for w in places] + [q for w in places for q in w.others]:
            if not same_face(quad, unique).any():
                unique.append(quad)
        return unique

    def pick(self, number: int | None) -> int:
        """The index of encrypted face ``number``, counted from the left from 0.

        Raises:
            SealedError: several faces and no number, or no such number.
        """
        order, boxes = self._from_the_left
        if number is None and len(order) == 1:
            return order[0]
        if number is None or not 0 <= number < len(order):
            wish = "" if number is None else f" and none has number {number}"
            where = list_boxes(boxes)
            raise SealedError(
                f"the picture holds {len(order)} encrypted face(s){wish}; choose one "
                f"with --face N, counted from the left ({where})."
            )
        return order[number]

    @property
    def numbers(self) -> range:
        """The numbers that ``pick`` knows."""
        return range(len(self._from_the_left[0]))

    def number_of(self, quad: np.ndarray) -> int | None:
        """The number of the encrypted face at ``quad`` (4, 2), if there is one."""
        index = self._index_of(quad)
        return None if index is None else self._from_the_left[0].index(index)

    def check_new(self, quad: np.ndarray) -> None:
        """``SealedError`` if the face at ``quad`` (4, 2) is encrypted already."""
        index = self._index_of(quad)
        if index is not None:
            cure = "decrypt it first"
            if self.faces[index].mode == "open":
                cure = "add your password with encrypt_again, or " + cure
            raise SealedError(f"this face is encrypted in the file already: {cure}.")

    def check_mark(self, new: int) -> None:
        """``SealedError`` if the pixels lack room for ``new`` more faces."""
        if new + (mark_of(self.faces) is not None) > 1:
            raise SealedError(
                "the pixels hold the code of one face only, so the others need a "
                "chunk: use --chunk ambiguous, or --no-pixels to give their codes up."
            )

    def check_room(self, new: int = 1) -> None:
        """``SealedError`` if a file cannot hold ``new`` more encrypted faces."""
        if len(self.faces) + new > MAX_FACES:
            raise SealedError(
                f"a file holds at most {MAX_FACES} encrypted faces, and there would be "
                f"{len(self.faces) + new}; choose fewer with --face."
            )

    def make_room(self, aligned: Aligned) -> tuple[list[Sealed], Aligned]:
        """The faces, and one more, each with the squares of its neighbours.

        Raises:
            SealedError: the new face is one of them, or there are too many.
        """
        self.check_new(aligned.quad)
        self.check_room()
        faces = []
        for sealed, where in zip(self.faces, self._places, strict=True):
            if where is not None:
                geometry = sealed.geometry | where.beside([aligned.quad]).to_dict()
                sealed = replace(sealed, geometry=geometry)
            faces.append(sealed)
        return faces, aligned.beside(self.squares)

    @cached_property
    def _from_the_left(self) -> tuple[list[int], list[Box]]:
        """Indices of the faces that may be chosen, and their boxes, in order."""
        places = self._places[:1] if self.pixels_only else self._places
        boxes = [_box(where) for where in places]
        order = sorted(range(len(boxes)), key=boxes.__getitem__)
        return order, sorted(boxes)

    def _index_of(self, quad: np.ndarray) -> int | None:
        # A face without a place is all there is, so any other is the same.
        squares = [quad if where is None else where.quad for where in self._places]
        same = same_face(quad, squares)
        return int(same.argmax()) if same.any() else None


def carries_code(data: bytes) -> bool:
    """Whether a file is a PNG with our chunk, so not a plain photograph."""
    try:
        return any(kind == CHUNK for kind, _ in read_png_chunks(data))
    except ImageError:
        return CHUNK in data[:64]  # a damaged one: it comes right after the header


def mark_of(faces: Sequence[Sealed]) -> Sealed | None:
    """The one of several faces whose code the pixels hold, if they are large enough."""
    return next((face for face in faces if face.nonce == NONCE), None)


def place(sealed: Sealed) -> Aligned | None:
    """Where a face lies in its photograph; None where the face is all there is.

    Raises:
        ImageError: the geometry is damaged.
    """
    geometry = sealed.geometry
    if not geometry:
        return None
    if geometry.get("others") is True:  # from the pixels: there are some, somewhere
        geometry = geometry | {"others": []}
    return Aligned.from_dict(geometry, torch.zeros(1, 3, 1, 1))


def _box(where: Aligned | None) -> Box:
    whole = np.array([[0.0, 0], [0, 1024], [1024, 1024], [1024, 0]])
    return PhotoFace.of_square(whole if where is None else where.quad).box
