"""An encrypted picture: the pixels, and every encrypted face the file knows of.

A file is parsed once into an ``EncryptedPicture``, which is then carried through
encryption and decryption. Every face has a chunk of its own, with its own salt,
password and place. The faces share the picture, the ground in it (see ``photo.paste``)
and the one mark that the pixels hold: that of the first face encrypted for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from facersa.errors import ImageError, SealedError
from facersa.generator.statistics import WStatistics
from facersa.photo.align import PhotoFace, list_boxes
from facersa.photo.images import decode_image, from_uint8, read_png_chunks, to_uint8
from facersa.photo.square import Aligned, same_face
from facersa.sealing.chunk import CHUNK, Sealed, seal, unseal_all
from facersa.sealing.pixels import NONCE, find, write


@dataclass(frozen=True)
class EncryptedPicture:
    """A picture and the encrypted faces in it; none in a plain photograph.

    Attributes:
        image: (1, 3, H, W) in [-1, 1].
        faces: in the order of the file.
        data: the file.
        pixels_only: whether only the first face, read from the pixels, may be chosen.
    """

    image: Tensor = field(repr=False)
    faces: tuple[Sealed, ...]
    data: bytes = field(repr=False)
    pixels_only: bool = False

    @classmethod
    def read(cls, data: bytes, *, name: str = "the picture") -> EncryptedPicture:
        """Parse a picture file, encrypted or not; ``name`` is for errors.

        Raises:
            ImageError: not a picture.
            SealedError: its code is damaged, or a newer version made it.
        """
        faces = tuple(unseal_all(data)) if carries_code(data) else ()
        return cls(decode_image(data, name=name), faces, data)

    @classmethod
    def read_encrypted(
        cls,
        data: bytes,
        *,
        from_pixels: bool = False,
        statistics: WStatistics | None = None,
    ) -> EncryptedPicture:
        """As ``read``, for a file in which a face is to be decrypted.

        Args:
            data: the file.
            from_pixels: take the face in the pixels, for a file without its chunk.
            statistics: of w; the shipped ones by default.

        Raises:
            ImageError: not a picture.
            SealedError: no encrypted face in it, or a damaged one.
        """
        if not from_pixels:
            faces = tuple(unseal_all(data))
            return cls(decode_image(data), faces, data)
        image = decode_image(data)
        marked = find(image, statistics)
        chunks = unseal_all(data) if carries_code(data) else []
        others = (sealed for sealed in chunks if sealed.salt != marked.salt)
        return cls(image, (marked, *others), data, pixels_only=True)

    @classmethod
    def assemble(
        cls, image: Tensor, chunks: Sequence[Sealed], mark: Sealed | None
    ) -> tuple[EncryptedPicture, bool]:
        """A file of ``image`` (1, 3, H, W) with a chunk for each face, and one mark.

        Returns:
            The picture, and whether it was large enough for the mark.
        """
        image = from_uint8(to_uint8(image))
        marked = None if mark is None else write(image, mark)
        image = image if marked is None else marked
        return cls(image, tuple(chunks), seal(image, *chunks)), marked is not None

    @property
    def squares(self) -> list[np.ndarray]:
        """Squares (4, 2) of all known faces: encrypted, and beside those."""
        unique: list[np.ndarray] = []
        places = [where for where in map(place, self.faces) if where is not None]
        for quad in [w.quad for w in places] + [q for w in places for q in w.others]:
            if not any(same_face(quad, other) for other in unique):
                unique.append(quad)
        return unique

    def pick(self, number: int | None) -> int:
        """The index of encrypted face ``number``, counted from the left from 0.

        Raises:
            SealedError: several faces and no number, or no such number.
        """
        order = self._from_the_left()
        if number is None and len(order) == 1:
            return order[0]
        if number is None or not 0 <= number < len(order):
            wish = "" if number is None else f" and none has number {number}"
            where = list_boxes([_photo_face(self.faces[index]).box for index in order])
            raise SealedError(
                f"the picture holds {len(order)} encrypted face(s){wish}; choose one "
                f"with --face N, counted from the left ({where})."
            )
        return order[number]

    @property
    def numbers(self) -> range:
        """The numbers that ``pick`` knows."""
        return range(len(self._from_the_left()))

    def number_of(self, quad: np.ndarray) -> int | None:
        """The number of the encrypted face at ``quad`` (4, 2), if there is one."""
        index = self._index_of(quad)
        return None if index is None else self._from_the_left().index(index)

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

    def make_room(self, aligned: Aligned) -> tuple[list[Sealed], Aligned]:
        """The faces, and one more, each with the squares of its neighbours.

        Raises:
            SealedError: the new face is one of them.
        """
        self.check_new(aligned.quad)
        faces = []
        for sealed in self.faces:
            where = place(sealed)
            if where is not None:
                geometry = sealed.geometry | where.beside([aligned.quad]).to_dict()
                sealed = replace(sealed, geometry=geometry)
            faces.append(sealed)
        return faces, aligned.beside(self.squares)

    def _from_the_left(self) -> list[int]:
        faces = self.faces[:1] if self.pixels_only else self.faces
        return sorted(
            range(len(faces)), key=lambda index: _photo_face(faces[index]).box
        )

    def _index_of(self, quad: np.ndarray) -> int | None:
        for index, sealed in enumerate(self.faces):
            where = place(sealed)
            if where is None or same_face(where.quad, quad):
                return index
        return None


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


def _photo_face(sealed: Sealed) -> PhotoFace:
    where = place(sealed)
    whole = np.array([[0.0, 0], [0, 1024], [1024, 1024], [1024, 0]])
    return PhotoFace.of_square(whole if where is None else where.quad)
