"""What an encrypted picture carries of a face, and how a password hides it.

A picture does not determine the code it was drawn from, so exact decryption
needs the code itself. It travels in one of three ways:

- ambiguous: the code as uniform numbers (see ``prior``), hidden by ChaCha20 under a
  key that argon2id makes of what e and d share. There is no tag: every password
  decodes to somebody, and nothing says "wrong". A program can tell all the same: it
  encrypts what a guess gives again and compares that with the picture.
- sealed: the same under ChaCha20-Poly1305. A wrong password, a damaged and a forged
  chunk are refused.
- open: in clear, the paper's setting, so that several parties can compose.
  Whoever has the file finds the person without a password, by copying a row
  that is not edited over the edited ones.

In all three only the strength of the password and the cost of argon2id stand in the
way of somebody who tries passwords.

Whoever knows the photograph can invert it and so guess what an ambiguous code hides,
and may then write another person in its place: no tag would tell.

Beside a hidden code there may be the photograph's own face (``photo.detail``), under
ChaCha20-Poly1305 and a key made of the same one: what the generator could not paint
then comes back as well. Under a wrong password there is none, and no error. But it has
a tag, which tells a program that guesses at once whether the password is right.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from torch import Tensor

from facersa.cipher.password import SALT_BYTES, SCHEME, Password, stretch
from facersa.errors import PasswordError, SealedError
from facersa.generator.statistics import WStatistics
from facersa.ops import check_shape
from facersa.sealing.compact import CompactCode
from facersa.sealing.prior import NormalPrior

VERSION = 4  # of a chunk with detail; others and older ones: SCHEME + 1, see FORMAT.md
MODE_BYTES = {"open": 1, "ambiguous": 2, "sealed": 3}
HEAD = struct.Struct(">BBHHI")  # version, mode, rows, size of a row, JSON length
NONCE_BYTES = 12
TAG_BYTES = 16  # of ChaCha20-Poly1305
MAX_DETAIL = 2**20  # bytes
Prior = NormalPrior | CompactCode
Hidden = Literal["ambiguous", "sealed"]
DAMAGED = "the code in this file is damaged ({}); get an intact copy of the file."


class Revealed(NamedTuple):
    """What a password finds in a file: see ``Sealed.reveal``."""

    ws: Tensor
    password: Password
    detail: bytes


@dataclass(frozen=True)
class Sealed:
    """What an encrypted picture carries; ``code`` decodes it.

    params and geometry are JSON-able; a file turns their tuples into lists.
    ``shape`` is (rows, D) of the code, ``scheme`` that of ``Password.from_text``.
    ``detail`` is encrypted, or empty.
    """

    mode: str
    salt: bytes
    params: dict[str, Any]
    geometry: dict[str, Any]
    payload: bytes = field(repr=False)
    shape: tuple[int, int]
    nonce: bytes = field(repr=False)
    prior: Prior | None = None
    fingerprint: str | None = None
    scheme: int = SCHEME
    detail: bytes = field(default=b"", repr=False)

    def code(
        self,
        password: Password | None = None,
        *,
        statistics: WStatistics | None = None,
    ) -> Tensor:
        """The W+ code (1, rows, D) float32 that was sealed.

        An open file needs no password. Others give the code under the password
        they were made with or its inverse. Under any other one an ambiguous file
        gives a code drawn from the prior, and a sealed one nothing.

        Raises:
            PasswordError: no password for a file that needs one, one of another
                length, or a wrong one for a sealed file.
            SealedError: the code is damaged or was made with other statistics.
        """
        rows, size = self.shape
        if self.mode == "open":
            unpacker = zlib.decompressobj()
            try:
                data = unpacker.decompress(self.payload, 4 * rows * size + 1)
            except zlib.error as error:
                raise SealedError(DAMAGED.format("open code")) from error
            values = np.frombuffer(data[: len(data) // 4 * 4], dtype="<f4")
            if len(data) != 4 * rows * size or not np.isfinite(values).all():
                raise SealedError(DAMAGED.format("open code"))
            return torch.from_numpy(values.astype(np.float32)).reshape(1, rows, size)
        if password is None:
            raise PasswordError("this file needs a password; give one.")
        return self.person(password, statistics=statistics)[0]

    def person(
        self, password: Password, *, statistics: WStatistics | None = None
    ) -> tuple[Tensor, Password]:
        """The first two of ``reveal``: the code, and the password of the file."""
        return self.reveal(password, statistics=statistics)[:2]

    def reveal(
        self, password: Password, *, statistics: WStatistics | None = None
    ) -> Revealed:
        """What is hidden in a file that is not open.

        Returns:
            The code (1, rows, D), the password it was made with, and the detail. That
            password is ``password`` or its inverse: one bit, hidden like the rest, says
            which. Under a wrong password the bit is a toss of a coin, and the detail
            is empty.

        Raises:
            PasswordError: the password has another length than the file's, or is a
                wrong one for a sealed file.
            SealedError: an open file, or one made with other statistics.
        """
        bits = self.params.get("num_bits", password.num_bits)
        if password.num_bits != bits:
            raise PasswordError(
                f"this file was made with passwords of {bits} bits, got "
                f"{password.num_bits}; use {bits}."
            )
        if self.prior is None:
            raise SealedError("this file is open; read its code instead.")
        stats = WStatistics.load() if statistics is None else statistics
        if stats.fingerprint() != self.fingerprint:
            raise SealedError(
                "this file was made with another generator, or other statistics of "
                "it; use the same --generator and version of facersa."
            )
        key = stretch(password.shared_secret(self.scheme), self.salt, 32)
        if self.mode == "ambiguous":
            plain = _keystream(key, self.nonce, self.payload)
        else:
            try:
                plain = ChaCha20Poly1305(key).decrypt(
                    self.nonce, self.payload, _associated(self)
                )
            except InvalidTag as error:
                raise PasswordError(
                    "the password is wrong, or the code in this file was changed; "
                    "type it again, or get an intact copy of the file."
                ) from error
        ws, side = self.prior.from_bytes(plain, stats)
        same = side == password.is_canonical
        detail = b""
        if self.detail:
            with contextlib.suppress(InvalidTag):
                detail = _detail_cipher(key).decrypt(
                    self.nonce, self.detail, _associated(self)
                )
        return Revealed(ws[None], password if same else password.inverse, detail)


def conceal(
    ws: Tensor,
    password: Password,
    *,
    mode: Hidden = "ambiguous",
    salt: bytes,
    params: Mapping[str, Any],
    geometry: Mapping[str, Any],
    prior: Prior | None = None,
    statistics: WStatistics | None = None,
    nonce: bytes | None = None,
    detail: bytes = b"",
) -> Sealed:
    """Hide a code under a password.

    Args:
        ws: (1, rows, D). It is rounded: pass it through ``quantise`` of the prior
            before drawing the picture to have the two agree. A wrong password gives
            rows that agree as a person's do, so the person's own code is better
            hidden than the edited one.
        password: the sum of all that were used.
        mode: whether a wrong password gives somebody, or an error.
        salt: 16 bytes, as used for typed passwords; fresh for each picture.
        params: public settings of the cipher, JSON-able; "num_bits" is checked.
        geometry: place of the face in the picture, JSON-able.
        prior: of codes; ``NormalPrior()`` where none is given.
        statistics: of w; those in the package where none are given.
        nonce: 12 bytes, which must never serve twice with one salt and password;
            random where none are given.
        detail: what else is hidden, at most ``MAX_DETAIL`` bytes less ``TAG_BYTES``.

    Raises:
        PasswordError: passwords that cancel out.
        ValueError: too much detail, a bad shape, salt or nonce, or numbers that are
            not finite.
    """
    if password.is_zero:
        raise PasswordError(
            "these passwords cancel out, so nothing would be hidden; "
            "leave one of them out."
        )
    nonce = secrets.token_bytes(NONCE_BYTES) if nonce is None else nonce
    _check(ws, salt, nonce)
    prior = NormalPrior() if prior is None else prior
    stats = WStatistics.load() if statistics is None else statistics
    # One hidden bit says which of the pair e, -e it was.
    plain = prior.to_bytes(_values(ws), password.is_canonical, stats)
    key = stretch(password.shared_secret(), salt, 32)
    sealed = Sealed(
        mode,
        salt,
        dict(params),
        dict(geometry),
        b"",
        (ws.shape[1], ws.shape[2]),
        nonce,
        prior,
        stats.fingerprint(),
        detail=bytes(len(detail) + TAG_BYTES) if detail else b"",
    )
    if len(sealed.detail) > MAX_DETAIL:
        raise ValueError(f"at most {MAX_DETAIL - TAG_BYTES} bytes of detail fit in.")
    known = _associated(sealed)
    if mode == "ambiguous":
        payload = _keystream(key, nonce, plain)
    else:
        payload = ChaCha20Poly1305(key).encrypt(nonce, plain, known)
    if detail:
        detail = _detail_cipher(key).encrypt(nonce, detail, known)
    return replace(sealed, payload=payload, detail=detail)


def lay_open(
    ws: Tensor,
    *,
    salt: bytes,
    params: Mapping[str, Any],
    geometry: Mapping[str, Any],
    scheme: int = SCHEME,
) -> Sealed:
    """Hold a code (1, rows, D) in clear; arguments and errors as for ``conceal``.

    ``scheme`` is that of the passwords that were and will be used on it.
    """
    nonce = bytes(NONCE_BYTES)
    _check(ws, salt, nonce)
    payload = zlib.compress(_values(ws).numpy().astype("<f4").tobytes(), 9)
    shape = ws.shape[1], ws.shape[2]
    notes = dict(params), dict(geometry)
    return Sealed("open", salt, *notes, payload, shape, nonce, scheme=scheme)


def head_of(sealed: Sealed, length: int) -> bytes:
    """The first bytes of a chunk whose JSON has ``length`` bytes."""
    mode = MODE_BYTES[sealed.mode]
    version = VERSION if sealed.detail else sealed.scheme + 1
    return HEAD.pack(version, mode, *sealed.shape, length)


def notes_of(sealed: Sealed) -> dict[str, Any]:
    """What the JSON of a chunk says."""
    notes: dict[str, Any] = {"params": sealed.params, "geometry": sealed.geometry}
    if sealed.prior is not None:
        notes |= {"prior": sealed.prior.to_dict(), "statistics": sealed.fingerprint}
    if sealed.detail:
        notes["detail"] = len(sealed.detail)
    return notes


def text_of(notes: Mapping[str, Any]) -> bytes:
    """The one way to write these notes; ``ValueError`` for what JSON cannot hold."""
    return json.dumps(
        notes, sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode()


def _associated(sealed: Sealed) -> bytes:
    """What the tags of a sealed code and of the detail cover beside these.

    All but the squares of neighbours, which change when those are encrypted too.
    """
    own = {key: v for key, v in sealed.geometry.items() if key != "others"}
    text = text_of(notes_of(sealed) | {"geometry": own})
    return head_of(sealed, len(text)) + sealed.salt + text


def _check(ws: Tensor, salt: bytes, nonce: bytes) -> None:
    check_shape(ws, 1, None, None, name="ws")
    if not ws.isfinite().all():
        raise ValueError("ws holds values that are not finite; invert again.")
    if (len(salt), len(nonce)) != (SALT_BYTES, NONCE_BYTES):
        raise ValueError(
            f"expected a salt of {SALT_BYTES} and a nonce of {NONCE_BYTES} bytes, got "
            f"{len(salt)} and {len(nonce)}; make the salt with new_salt()."
        )


def _values(ws: Tensor) -> Tensor:
    return ws[0].detach().cpu().float()


def _detail_cipher(key: bytes) -> ChaCha20Poly1305:
    """What encrypts the detail, under a key made of the code's key."""
    own = hashlib.shake_256(b"facersa detail v1\0" + key).digest(32)
    return ChaCha20Poly1305(own)


def _keystream(key: bytes, nonce: bytes, data: bytes) -> bytes:
    """``data`` XOR ChaCha20 (RFC 8439, from block 0): its own inverse."""
    cipher = Cipher(algorithms.ChaCha20(key, bytes(4) + nonce), mode=None)
    return cipher.encryptor().update(data)
