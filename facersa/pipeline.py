"""Photograph in, photograph out: align, invert, edit, paint, paste, seal.

The way of the data in one class; ``engine`` has its first half, up to the code. The
paper works on aligned, inverted faces; here the face goes back into the photograph it
came from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from facersa.cipher.base import Cipher
from facersa.cipher.description import describe
from facersa.cipher.password import Password, new_salt
from facersa.cipher.typed import Secrets
from facersa.engine import Engine, Inversion
from facersa.errors import ImageError, PasswordError, SealedError
from facersa.generator.statistics import WStatistics
from facersa.painting import SAME_POSE, Fit, moved, painted_oval, reachable
from facersa.photo.detail import detail_of, read_detail
from facersa.photo.images import to_levels
from facersa.photo.paste import paste
from facersa.sealing.picture import EncryptedPicture, mark_of, place
from facersa.sealing.pixels import NONCE
from facersa.sealing.sealed import conceal, lay_open

Chunk = Literal["ambiguous", "sealed", "open", "none"]
Part = Literal["face", "head"]
SALTS = 8  # tried at most, each at the cost of argon2id
IN_PIXELS = ("ambiguous", "none")  # of these the pixels may hold the code as well


@dataclass(frozen=True)
class Encrypted:
    """The outcome of ``encrypt`` or ``decrypt``.

    Attributes:
        picture: the file and what it carries.
        face: the edited face alone, (1, 3, R, R).
        ws: its code.
        in_pixels: whether the pixels hold this code as well.
    """

    picture: EncryptedPicture
    face: Tensor = field(repr=False)
    ws: Tensor = field(repr=False)
    in_pixels: bool = False

    @property
    def data(self) -> bytes:
        """The PNG file, its chunks included."""
        return self.picture.data

    @property
    def image(self) -> Tensor:
        """The picture in the file, (1, 3, H, W) in [-1, 1]."""
        return self.picture.image


class FaceRSA(Engine):
    """Encrypt and decrypt the identity of a face in a photograph.

    Networks, settings and their errors are those of ``Engine``.
    """

    def encrypt(
        self,
        inversion: Inversion,
        secrets: Secrets,
        *,
        mode: Chunk = "ambiguous",
        num_bits: int | None = None,
        crop: bool = False,
        paint: Part = "face",
        in_pixels: bool = True,
        same_look: bool = True,
        detail: bool = True,
        beside: EncryptedPicture | None = None,
    ) -> Encrypted:
        """Edit the face and seal the picture.

        Args:
            inversion: from ``invert``.
            secrets: typed passwords and raw codes; their sum is the code e.
            mode: what the file carries; see ``sealing.sealed``. None is what the
                pixels hold alone.
            num_bits: length of codes made from typed passwords.
            crop: keep only the aligned face, not the photograph.
            paint: an oval in the face, or the whole head. With the face alone hair,
                ears, clothes and background stay the photograph's own; people are
                recognised by those as well.
            in_pixels: also hide the code in the pixels, so that the picture can be
                decrypted when the chunk is lost. Not for an open or a sealed code,
                nor in a picture too small for it, nor where they hold another face's
                code already; ``Encrypted.in_pixels`` tells.
            same_look: prefer people of the photograph's apparent gender and age, where
                passwords are typed; see ``README``.
            detail: also hide the photograph's own face in the chunk, so that decryption
                brings back that and not the inversion. Only beside a hidden code, and
                where an oval is painted.
            beside: an encrypted picture of the same photograph, to which this face
                is added. The others in it stay as they are.

        Raises:
            PasswordError: no password, or passwords that cancel out.
            SealedError: the face is encrypted in ``beside`` already, or its code would
                be nowhere.
        """
        if crop and beside is not None and beside.faces:
            raise ImageError("a crop has one face; leave out crop to add another.")
        picture = beside or EncryptedPicture(to_levels(inversion.photo))
        aligned = inversion.aligned
        if paint == "head":
            aligned = replace(aligned, oval=())
        faces, aligned = picture.make_room(aligned)
        pixels_only = in_pixels and mode == "none"
        in_pixels = in_pixels and mode in IN_PIXELS and self._table is not None
        if pixels_only:
            picture.check_mark(1)
        num_bits = secrets.num_bits(num_bits, default=self.default_bits)
        cipher = self.cipher(num_bits)
        prior, ws = self._prior_of(in_pixels), inversion.ws
        if mode != "open":
            ws = prior.quantise(ws, self.statistics)
        if aligned.oval and not crop:
            own = painted_oval(self.painter.small(ws), self.faces)
            aligned = replace(aligned, oval=reachable(aligned.oval, own))
        kept = detail and mode != "none" and not crop and bool(aligned.oval)
        oval = () if crop else aligned.oval
        fit = Fit()  # raw codes leave no choice
        if secrets.texts:
            fit = self._fit(inversion.aligned.image, oval, same_look)
        salt, password = self._salted(secrets, cipher, ws, fit)
        edited = cipher(ws, password.code)
        notes: dict[str, Any] = {
            "salt": salt,
            "params": describe(cipher),
            "geometry": {} if crop else aligned.to_dict(),
        }
        if mode == "open":
            sealed = lay_open(edited, **notes)
        else:
            sealed = conceal(
                ws,
                password,
                mode="sealed" if mode == "sealed" else "ambiguous",
                **notes,
                prior=prior,
                statistics=self.statistics,
                nonce=NONCE if in_pixels else None,
                detail=detail_of(aligned) if kept else b"",
            )
        photo = picture.photo
        face, fitted = self.painter.paint(edited, photo, None if crop else aligned)
        image = face if crop else paste(photo, fitted, aligned)
        chunks = faces if mode == "none" else [*faces, sealed]
        mark = mark_of([*faces, sealed])
        out, written = EncryptedPicture.assemble(image, chunks, mark)
        if pixels_only and not (written and mark is sealed):
            raise SealedError(
                "the pixels cannot hold the code, because the picture is too small or "
                "has no greys, or the generator is not MobileStyleGAN, so the face "
                "would be lost: use --chunk ambiguous, or --no-pixels to give the code "
                "up."
            )
        return Encrypted(out, face, edited, written and mark is sealed)

    def encrypt_again(
        self,
        picture: EncryptedPicture | bytes,
        secrets: Secrets,
        *,
        face: int | None = None,
    ) -> Encrypted:
        """Add a password to an open file: same salt, same face, one more step.

        ``picture`` and ``face`` are as for ``decrypt``.

        Raises:
            SealedError: a file that is not open, whose code only its own password
                gives.
        """
        picture = _parsed(picture)
        index = picture.pick(face)
        sealed = picture.faces[index]
        if sealed.mode != "open":
            raise SealedError(
                "this file is hidden under its own password, so nothing can be added "
                "to it; decrypt it first, or encrypt with --chunk open to compose, or "
                "choose a further face with --face."
            )
        cipher = self._cipher_of(sealed)
        password = secrets.password(
            salt=sealed.salt, num_bits=cipher.num_bits, scheme=sealed.scheme
        )
        before = sealed.code()
        return self._repaint(picture, index, before, cipher(before, password.code))

    def decrypt(
        self,
        picture: EncryptedPicture | bytes,
        secrets: Secrets,
        *,
        face: int | None = None,
        from_pixels: bool = False,
        detail: bool = True,
    ) -> Encrypted:
        """Undo typed passwords and add raw codes to what the file holds.

        A wrong password gives another person and no error, unless the file is
        sealed. From an open file ``data`` of the result is again an open file, from
        others it is a plain picture. Of several encrypted faces the others stay as
        they are, with their codes.

        Args:
            picture: the file, or what ``EncryptedPicture.read_encrypted`` made of it.
            secrets: typed passwords and raw codes.
            face: which of several encrypted faces, from the left, 0-based. None is
                tried on a face it was not meant for: a wrong password never shows.
            from_pixels: with a file: read the code in the pixels and no chunk, so
                the file may be a JPEG or a PNG that other programs have written.
            detail: bring back the photograph's own face where the file has it; without,
                the face that the code paints.

        Raises:
            SealedError: not one of our files, damaged, or without a code; several
                encrypted faces and no choice.
            ImageError: not a picture.
            PasswordError: none given, one of another length than the file's, or a
                wrong one for a sealed file.
        """
        picture = _parsed(picture, from_pixels, self.statistics)
        index = picture.pick(face)
        sealed = picture.faces[index]
        cipher = self._cipher_of(sealed)
        password = secrets.password(
            salt=sealed.salt,
            num_bits=cipher.num_bits,
            decrypt=True,
            scheme=sealed.scheme,
        )
        kept = None
        if sealed.mode == "open":
            before = sealed.code()
            ws = cipher(before, password.code)
        else:
            person, used, own = sealed.reveal(password, statistics=self.statistics)
            before = cipher(person, used.code)
            ws = cipher(person, (used + password).code)
            if detail and own and (used + password).is_zero:
                kept = read_detail(own)
        return self._repaint(picture, index, before, ws, kept)

    def _repaint(
        self,
        picture: EncryptedPicture,
        index: int,
        before: Tensor,
        ws: Tensor,
        detail: Tensor | None = None,
    ) -> Encrypted:
        """Paint ``ws`` over ``before``, and write the file without or with its code.

        ``detail`` (1, 3, S, S) is the photograph's own face, which takes its place.
        """
        faces = list(picture.faces)
        sealed, photo = faces.pop(index), picture.photo
        where = place(sealed)
        if where is not None and sealed.geometry.get("others") is True:
            # The mark has no room for the places of neighbours.
            where = where.beside([near.quad for near in self.find_faces(photo)])
        last = sealed.mode != "open"
        if last and detail is None and where and where.oval:
            face = self.painter.small(ws)
            if moved(face, where.oval, self.faces) > SAME_POSE:
                where = replace(where, oval=())  # the whole head is painted
        if detail is None:
            face, new = self.painter.paint(ws, photo, where)
        else:
            face, new = self.painter.paint(ws, photo, None)[0], detail
        image = face
        if where is not None:
            _, shown = self.painter.paint(before, photo, where)
            image = paste(photo, new, where, replaces=shown)
        if sealed.mode == "open":
            notes: dict[str, Any] = {
                "params": sealed.params,
                "geometry": sealed.geometry,
            }
            notes |= {"salt": sealed.salt, "scheme": sealed.scheme}
            faces.insert(index, lay_open(ws, **notes))
        out, _ = EncryptedPicture.assemble(image, faces, mark_of(faces))
        return Encrypted(out, face, ws)

    @torch.no_grad()
    def _fit(self, person: Tensor, oval: Sequence[int], same_look: bool) -> Fit:
        """What the face that takes the place of a person's should be like."""
        look = self.fitters.look.look(person) if same_look else None
        return Fit(oval, look, self.fitters.identity.embed(person))

    @torch.no_grad()
    def _salted(
        self, secrets: Secrets, cipher: Cipher, ws: Tensor, fit: Fit
    ) -> tuple[bytes, Password]:
        """A salt, and the password under it.

        A typed password is another code under each salt. Of a few salts the one is
        taken whose face fits the photograph best, and is least like the person there.

        Raises:
            PasswordError: passwords that cancel out.
        """
        tried: list[tuple[float, bytes, Password]] = []
        for _ in range(SALTS):
            salt = new_salt()
            password = secrets.password(salt=salt, num_bits=cipher.num_bits)
            if password.is_zero:
                raise PasswordError(
                    "these passwords cancel out, so the face would stay as it is; "
                    "leave one of them out."
                )
            if not secrets.texts:
                return salt, password
            face = self.painter.small(cipher(ws, password.code))
            misfit = fit.misfit(face, self.fitters)
            tried.append((misfit, salt, password))
            if misfit <= 1:
                break
        return min(tried, key=lambda one: one[0])[1:]


def _parsed(
    picture: EncryptedPicture | bytes,
    from_pixels: bool = False,
    statistics: WStatistics | None = None,
) -> EncryptedPicture:
    if isinstance(picture, EncryptedPicture):
        return picture
    return EncryptedPicture.read_encrypted(
        picture, from_pixels=from_pixels, statistics=statistics
    )
