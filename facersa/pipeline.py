"""Photograph in, photograph out: align, invert, edit, paint, paste, seal.

The whole way of the data in one class. The paper works on aligned, inverted
faces; here the face goes back into the photograph it came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facersa.cipher.catalogue import Ciphers, Mapper, params_of
from facersa.cipher.password import Secrets, new_salt
from facersa.cipher.rotation import RotationCipher
from facersa.errors import ImageError, PasswordError, SealedError
from facersa.generator.base import Generator
from facersa.generator.load import load_generator
from facersa.generator.mobile_stylegan import MobileStyleGAN
from facersa.generator.openvino import Renderer
from facersa.generator.parts import BLOCKS as PARSED_BLOCKS
from facersa.generator.parts import load_parser
from facersa.inversion.inverter import Inverter
from facersa.inversion.search import ProjectConfig
from facersa.photo.align import Found, align, find_squares
from facersa.photo.background import match_background
from facersa.photo.faces import HeldOutFaces, load_held_out_faces
from facersa.photo.images import decode_image, is_grey, to_grey
from facersa.photo.paste import paste
from facersa.photo.square import Aligned
from facersa.sealing.chunk import Prior, Sealed, conceal, lay_open, unseal_all
from facersa.sealing.compact import CompactCode
from facersa.sealing.honey import HoneyPrior
from facersa.sealing.picture import (
    assemble,
    check_mark,
    make_room,
    marked,
    pick,
    place,
    sealed_faces,
)
from facersa.sealing.pixels import NONCE, find


@dataclass(frozen=True)
class Inversion:
    """A photograph, the face in it, and the code that paints the face.

    Attributes:
        photo: (1, 3, H, W) in [-1, 1].
        aligned: the crop and where it lies in the photograph.
        ws: (1, 16, 512) code.
    """

    photo: Tensor
    aligned: Aligned
    ws: Tensor


@dataclass(frozen=True)
class Encrypted:
    """The outcome of ``encrypt``.

    Attributes:
        data: bytes of the PNG file, chunk included.
        image: the picture in it, (1, 3, H, W).
        face: the edited face alone, (1, 3, 1024, 1024).
        ws: its code.
        in_pixels: whether the picture itself holds this code, chunk or no chunk.
    """

    data: bytes = field(repr=False)
    image: Tensor = field(repr=False)
    face: Tensor = field(repr=False)
    ws: Tensor = field(repr=False)
    in_pixels: bool = False


class FaceRSA:
    """Encrypt and decrypt the identity of a face in a photograph.

    Args:
        generator: the frozen generator, with its preview head.
        cipher: "rotation", "steered", "ring" or "faithful", see ``Ciphers``.
        layers: rows of W+ that the rotation edits, 0-based.
        kappa: the rotation's push away from the person; None for its default.

    Raises:
        FaceRSAError: settings that make no sense, or missing weights.
    """

    def __init__(
        self,
        generator: Generator | None = None,
        *,
        cipher: str = "rotation",
        layers: Sequence[int] | None = None,
        kappa: float | None = None,
    ) -> None:
        self.generator = generator if generator is not None else load_generator()
        self.renderer = Renderer(self.generator)
        self._ciphers = Ciphers(
            cipher, self.generator.num_ws, layers=layers, kappa=kappa
        )
        self.statistics = self._ciphers.statistics
        self._table = CompactCode.load()
        self._parser = load_parser(self.generator.w_avg.device)
        self._faces: HeldOutFaces | None = None
        self._inverter: Inverter | None = None

    @property
    def default_bits(self) -> int:
        """Length of codes made from typed passwords, unless told otherwise."""
        return self._ciphers.default_bits

    def cipher(self, num_bits: int | None = None) -> RotationCipher | Mapper:
        """The cipher for codes of ``num_bits``, with the errors of ``Ciphers.of``."""
        return self._ciphers.of(num_bits)

    @property
    def faces(self) -> HeldOutFaces:
        """The detector that aligns photographs, loaded when first needed."""
        if self._faces is None:
            self._faces = load_held_out_faces()
        return self._faces

    @property
    def inverter(self) -> Inverter:
        """The encoder and the judges that find codes, loaded when first needed."""
        if self._inverter is None:
            self._inverter = Inverter(self.generator)
        return self._inverter

    def find_faces(
        self, photo: Tensor, known: Sequence[np.ndarray] = ()
    ) -> list[Found]:
        """The faces of a photograph (1, 3, H, W) in the order of their numbers.

        ``known`` squares (4, 2) need not be looked for: ``several.squares`` gives
        those that an encrypted file knows.
        """
        return find_squares(photo, self.faces, known)

    def invert(
        self,
        photo: Tensor,
        *,
        face: int | None = None,
        known: Sequence[np.ndarray] = (),
        config: ProjectConfig | None = None,
        in_pixels: bool = True,
        progress: bool = True,
    ) -> Inversion:
        """Find the face in a photograph and the code that paints it.

        Args:
            photo: (1, 3, H, W) in [-1, 1].
            face: which face, from the left, 0-based; needed if there are several.
            known: squares (4, 2) of faces that need not be looked for.
            config: of the search from the encoder's guess; no steps leave the guess.
            in_pixels: find a code that the pixels can hold, see ``encrypt``; otherwise
                one that only a chunk can, a little closer to the photograph.
            progress: show a bar.

        Raises:
            ImageError: no face, several faces and no choice, or too small.
        """
        aligned = align(photo, faces=self.faces, face=face, known=known)
        prior = self._prior(in_pixels)
        ws = self.inverter.find(
            aligned.image,
            config=config or ProjectConfig(),
            # As a sealed file will hold it, so that the file gives exactly this.
            rounded=lambda ws: prior.quantise(ws.cpu(), self.statistics).to(ws),
            progress=progress,
        )
        return Inversion(photo, aligned, ws)

    def _prior(self, in_pixels: bool) -> Prior:
        return self._table if in_pixels else HoneyPrior()

    def encrypt(
        self,
        inversion: Inversion,
        secrets: Secrets,
        *,
        mode: str = "honey",
        num_bits: int | None = None,
        crop: bool = False,
        detail: bool = False,
        in_pixels: bool = True,
        beside: bytes | None = None,
    ) -> Encrypted:
        """Edit the face and seal the picture.

        Args:
            inversion: from ``invert``.
            secrets: typed passwords and raw codes; their sum is the code e.
            mode: "honey", "open" or "none": what the file carries.
            num_bits: length of codes made from typed passwords.
            crop: keep only the aligned 1024 x 1024 face, not the photograph.
            detail: paint an oval around the face only; around it keep the photograph,
                which the generator's picture comes close to but does not equal, and
                change it as that picture changes. Hair, ears, clothes and background
                are then the person's own, and people are known by those as well.
            in_pixels: also hide the code in the pixels, so that the picture can be
                decrypted when the chunk is lost. Not in an open file, nor in a
                picture too small for it, nor where they hold another face's code
                already; ``Encrypted.in_pixels`` tells.
            beside: an encrypted file of the same photograph, to which this face is
                added. The others in it stay as they are.

        Raises:
            PasswordError: no password, or passwords that cancel out.
            SealedError: the face is encrypted in ``beside`` already, or its code would
                be nowhere.
        """
        if crop and beside is not None:
            raise ImageError("a crop has one face; leave out crop to add another.")
        if crop and detail:
            raise ImageError(
                "a crop is painted as a whole and keeps no detail; leave one out."
            )
        faces = [] if beside is None else sealed_faces(beside)
        aligned = replace(inversion.aligned, keeps_detail=detail)
        faces, aligned = make_room(faces, aligned)
        in_pixels = in_pixels and mode != "open"
        if mode == "none" and in_pixels:
            check_mark(faces, 1)
        salt = new_salt()
        num_bits = secrets.num_bits(num_bits, default=self.default_bits)
        password = secrets.password(salt=salt, num_bits=num_bits)
        if password.is_zero:
            raise PasswordError(
                "these passwords cancel out, so the face would stay as it is; "
                "leave one of them out."
            )
        cipher = self.cipher(password.num_bits)
        prior, ws = self._prior(in_pixels), inversion.ws
        if mode != "open":
            ws = prior.quantise(ws, self.statistics)
        edited = cipher(ws, password.code)
        notes: dict[str, Any] = {
            "salt": salt,
            "params": params_of(cipher),
            "geometry": {} if crop else aligned.to_dict(),
        }
        if mode == "open":
            sealed = lay_open(edited, **notes)
        else:
            sealed = conceal(
                ws,
                password,
                **notes,
                prior=prior,
                statistics=self.statistics,
                nonce=NONCE if in_pixels else None,
            )
        photo = inversion.photo if beside is None else decode_image(beside)
        face, fitted = self._painted(edited, photo, None if crop else aligned)
        image, before = face, None
        if detail:
            _, before = self._painted(ws, photo, aligned)
            photo = paste(photo, before, aligned)
        if not crop:
            image = paste(photo, fitted, aligned, replaces=before)
        mark = marked([*faces, sealed])
        chunks = faces if mode == "none" else [*faces, sealed]
        data, image, written = assemble(image, chunks, mark)
        return Encrypted(data, image, face, edited, written and mark is sealed)

    def encrypt_again(
        self, data: bytes, secrets: Secrets, *, face: int | None = None
    ) -> Encrypted:
        """Add a password to an open file: same salt, same face, one more step.

        ``face`` counts as for ``decrypt``.

        Raises:
            SealedError: a honey file, whose code only its own password opens.
        """
        faces = sealed_faces(data)
        index = pick(faces, face)
        sealed = faces[index]
        if sealed.mode != "open":
            raise SealedError(
                "this file is sealed with its own password, so nothing can be added "
                "to it; decrypt it first, or encrypt with --chunk open to compose, or "
                "choose a further face with --face."
            )
        cipher = self._cipher_of(sealed)
        password = secrets.password(salt=sealed.salt, num_bits=cipher.num_bits)
        before = sealed.code()
        ws = cipher(before, password.code)
        return self._repaint(data, faces, index, before, ws)

    def decrypt(
        self,
        data: bytes,
        secrets: Secrets,
        *,
        face: int | None = None,
        from_pixels: bool = False,
    ) -> Encrypted:
        """Undo typed passwords and add raw codes to what the file holds.

        A wrong password gives another person and no error. From an open file
        ``data`` of the result is again an open file, from a honey file it is a
        plain picture. Of several encrypted faces the others stay as they are, with
        their codes. ``from_pixels`` reads the code in the pixels and no chunk, so
        ``data`` may be a JPEG or a PNG that other programs have written again.

        Args:
            data: the file.
            secrets: typed passwords and raw codes.
            face: which of several encrypted faces, from the left, 0-based: as a wrong
                password never shows, none is tried on a face it was not meant for.
            from_pixels: look for the code in the pixels.

        Raises:
            SealedError: not one of our files, damaged, or without a code; several
                encrypted faces and no choice.
            ImageError: not a picture.
            PasswordError: none given, or of another length than the file's.
        """
        if from_pixels:
            faces, index = self._marked_first(data)
            pick(faces[:1], face)
        else:
            faces = unseal_all(data)
            index = pick(faces, face)
        sealed = faces[index]
        cipher = self._cipher_of(sealed)
        password = secrets.password(
            salt=sealed.salt, num_bits=cipher.num_bits, decrypt=True
        )
        if sealed.mode == "open":
            before = sealed.code()
            ws = cipher(before, password.code)
        else:
            person, used = sealed.person(password, statistics=self.statistics)
            before = cipher(person, used.code)
            ws = cipher(person, (used + password).code)
        return self._repaint(data, faces, index, before, ws)

    def _marked_first(self, data: bytes) -> tuple[list[Sealed], int]:
        """The face in the pixels, then those in chunks that are others."""
        picture = decode_image(data)
        sealed = find(picture, self.statistics)
        if sealed.geometry.pop("others", False):
            # The mark has no room for their places.
            near = [found.quad for found in self.find_faces(picture)]
            where = Aligned.from_dict(sealed.geometry, picture).beside(near)
            sealed = replace(sealed, geometry=where.to_dict())
        kept = [other for other in sealed_faces(data) if other.salt != sealed.salt]
        return [sealed, *kept], 0

    def _repaint(
        self,
        data: bytes,
        faces: Sequence[Sealed],
        index: int,
        before: Tensor,
        ws: Tensor,
    ) -> Encrypted:
        """Paint ``ws`` over ``before``, and write the file without or with its code."""
        sealed, others = faces[index], [*faces[:index], *faces[index + 1 :]]
        photo = decode_image(data)
        where = place(sealed)
        face, fitted = self._painted(ws, photo, where)
        image = face
        if where is not None:
            _, shown = self._painted(before, photo, where)
            image = paste(photo, fitted, where, replaces=shown)
        if sealed.mode == "open":
            notes = {"params": sealed.params, "geometry": sealed.geometry}
            again = lay_open(ws, salt=sealed.salt, **notes)
            others.insert(index, again)
        data, image, _ = assemble(image, others, marked(others))
        return Encrypted(data, image, face, ws)

    @torch.no_grad()
    def _painted(
        self, ws: Tensor, photo: Tensor, where: Aligned | None
    ) -> tuple[Tensor, Tensor]:
        """The face of a code, grey where the photo it belongs to is grey.

        And the same as it is pasted: its background in the colours of the photo's.
        """
        face = self.renderer.full(ws)
        face = to_grey(face) if is_grey(photo) else face
        if where is None or not isinstance(self.generator, MobileStyleGAN):
            return face, face
        code = ws.to(self.generator.w_avg)
        features = self.generator.synthesis.features(code, PARSED_BLOCKS)
        background = self._parser.background(features).to(face)
        return face, match_background(face, background, photo, where)

    def _cipher_of(self, sealed: Sealed) -> RotationCipher | Mapper:
        if sealed.shape != (self.generator.num_ws, self.generator.w_dim):
            raise SealedError(
                f"this file holds a code of shape {sealed.shape}, which this version "
                "does not know; upgrade facersa."
            )
        return self._ciphers.again(sealed.params)
