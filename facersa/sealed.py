"""The file a user keeps: a PNG whose extra chunk carries the code.

A picture does not determine the code it was drawn from, so exact decryption
needs the code itself. It travels in an ancillary PNG chunk in one of two ways:

- honey: encrypted so that every password decodes to a believable code (honey
  encryption, Juels and Ristenpart 2014). The code becomes uniform numbers under
  a prior of codes; those are hidden by ChaCha20 under a key that argon2id makes
  of what e and d share. There is no tag, so decoding never says "wrong".
- open: in clear, the paper's setting, so that several parties can compose.
  Whoever has the file finds the person without a password, by copying a row
  that is not edited over the edited ones.

What honey does not hide: the picture itself. Whoever tries a password can draw
the code it gives, put it beside the picture, and see whether they belong
together. Only the strength of the password and the cost of argon2id stand in
the way. The chunk shows that the picture was anonymised, and by what.

The SHA-256 digest covers stored bytes only. It finds damage, not forgery.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import struct
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from torch import Tensor

from facersa.errors import ImageError, PasswordError, SealedError
from facersa.honey import HoneyPrior
from facersa.images import png_bytes, read_png_chunks
from facersa.ops import check_shape
from facersa.password import SALT_BYTES, Password, stretch
from facersa.rotation import WStatistics

CHUNK = b"faRs"
VERSION = 1
MODES = ("none", "open", "honey")
MODE_BYTES = {"open": 1, "honey": 2}
HEAD = struct.Struct(">BBHHI")  # version, mode, rows, size of a row, JSON length
NONCE_BYTES = 12
DIGEST_BYTES = 32
MAX_ROWS, MAX_SIZE, MAX_JSON = 64, 4096, 2**16
# All that stored JSON of the wrong form can raise, however it was made.
_SENSELESS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
_DAMAGED = "the code in this file is damaged ({}); get an intact copy of the file."


@dataclass(frozen=True)
class Sealed:
    """What an encrypted picture carries; ``code`` decodes it.

    params and geometry are the dictionaries given to ``seal`` (tuples come back
    as lists). ``shape`` is (rows, D) of the code.
    """

    mode: str
    salt: bytes
    params: dict[str, Any]
    geometry: dict[str, Any]
    payload: bytes = field(repr=False)
    shape: tuple[int, int]
    nonce: bytes = field(repr=False)
    prior: HoneyPrior | None = None
    fingerprint: str | None = None

    def code(
        self,
        password: Password | None = None,
        *,
        statistics: WStatistics | None = None,
    ) -> Tensor:
        """The W+ code (1, rows, D) float32 that was sealed.

        An open file needs no password. A honey file gives the code under the
        password it was sealed with or its inverse, and under any other one a
        code drawn from the prior, with no sign that it is another.

        Raises:
            PasswordError: a honey file and no password, or one of another length.
            SealedError: the code is damaged or was made with other statistics.
        """
        rows, size = self.shape
        if self.mode == "open":
            unpacker = zlib.decompressobj()
            try:
                data = unpacker.decompress(self.payload, 4 * rows * size + 1)
            except zlib.error as error:
                raise SealedError(_DAMAGED.format("open code")) from error
            values = np.frombuffer(data[: len(data) // 4 * 4], dtype="<f4")
            if len(data) != 4 * rows * size or not np.isfinite(values).all():
                raise SealedError(_DAMAGED.format("open code"))
            return torch.from_numpy(values.astype(np.float32)).reshape(1, rows, size)
        if password is None:
            raise PasswordError("this file needs a password; give one.")
        return self.person(password, statistics=statistics)[0]

    def person(
        self, password: Password, *, statistics: WStatistics | None = None
    ) -> tuple[Tensor, Password]:
        """The code in a honey file, and the password it was sealed with.

        That password is ``password`` or its inverse: one bit, hidden like the
        rest, says which. Under a wrong password the bit is a toss of a coin.

        Raises:
            PasswordError: the password has another length than the file's.
            SealedError: an open file, or one made with other statistics.
        """
        bits = self.params.get("num_bits", password.num_bits)
        if password.num_bits != bits:
            raise PasswordError(
                f"this file was made with passwords of {bits} bits, got "
                f"{password.num_bits}; use {bits}."
            )
        if self.prior is None:
            raise SealedError("this file is open, not honey; read its code instead.")
        stats = WStatistics.load() if statistics is None else statistics
        if stats.fingerprint() != self.fingerprint:
            raise SealedError(
                "this file was made with other statistics of the generator; use "
                "the version of facersa that made it, or a newer one."
            )
        plain = _keystream(password, self.salt, self.nonce, self.payload)
        levels = np.frombuffer(plain[:-1], dtype=">u2").reshape(self.shape)
        ws = self.prior.decode(levels.astype(np.int64), stats)[None]
        same = plain[-1] & 1 == password.is_canonical
        return ws, password if same else password.inverse


def seal(
    image: Tensor,
    ws: Tensor,
    *,
    mode: str,
    password: Password,
    salt: bytes,
    params: Mapping[str, Any],
    geometry: Mapping[str, Any],
    prior: HoneyPrior | None = None,
    statistics: WStatistics | None = None,
) -> bytes:
    """PNG file bytes of ``image`` (1, 3, H, W) with the code ``ws`` in a chunk.

    Args:
        image: the encrypted picture.
        ws: (1, rows, D) code to carry. In honey mode it is rounded: pass it
            through ``HoneyPrior.quantise`` before drawing the picture to have
            the two agree. A wrong password gives rows that agree as a person's
            do, so the person's own code is better hidden than the edited one.
        mode: "honey", "open" or "none" (no chunk at all).
        password: the sum of all that were used; ignored unless honey.
        salt: 16 bytes, as used for typed passwords; fresh for each honey file.
        params: public settings of the cipher, JSON-able; "num_bits" is checked.
        geometry: place of the face in the picture, JSON-able.

    Raises:
        PasswordError: honey mode and passwords that cancel out.
        ValueError: an unknown mode, a bad shape, values JSON cannot hold.
    """
    if mode == "none":
        return png_bytes(image)
    body = pack(
        ws,
        mode=mode,
        password=password,
        salt=salt,
        params=params,
        geometry=geometry,
        prior=prior,
        statistics=statistics,
        nonce=secrets.token_bytes(NONCE_BYTES),
    )
    return png_bytes(image, [(CHUNK, body)])


def pack(
    ws: Tensor,
    *,
    mode: str,
    password: Password,
    salt: bytes,
    params: Mapping[str, Any],
    geometry: Mapping[str, Any],
    prior: HoneyPrior | None,
    statistics: WStatistics | None,
    nonce: bytes,
) -> bytes:
    """The chunk's bytes, for ``seal``: head, salt, nonce, JSON, payload, digest.

    A nonce must never serve twice with one salt and password.
    """
    if mode not in MODE_BYTES:
        raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}.")
    check_shape(ws, 1, None, None, name="ws")
    if not ws.isfinite().all():
        raise ValueError("ws holds values that are not finite; invert again.")
    if (len(salt), len(nonce)) != (SALT_BYTES, NONCE_BYTES):
        raise ValueError(
            f"expected a salt of {SALT_BYTES} and a nonce of {NONCE_BYTES} bytes, got "
            f"{len(salt)} and {len(nonce)}; make the salt with new_salt()."
        )
    rows, size = ws.shape[1:]
    notes: dict[str, Any] = {"params": dict(params), "geometry": dict(geometry)}
    values = ws[0].detach().cpu().float()
    if mode == "open":
        payload = zlib.compress(values.numpy().astype("<f4").tobytes(), 9)
    else:
        if password.is_zero:
            raise PasswordError(
                "these passwords cancel out, so nothing would be hidden; "
                "leave one of them out."
            )
        prior = HoneyPrior() if prior is None else prior
        stats = WStatistics.load() if statistics is None else statistics
        check_shape(ws, 1, len(prior.scales), len(stats.mean), name="ws")
        notes |= {"prior": asdict(prior), "statistics": stats.fingerprint()}
        levels = prior.encode(values, stats).astype(">u2").tobytes()
        # Which of the pair it was, as a bit among random ones: uniform as well.
        side = secrets.randbits(7) << 1 | password.is_canonical
        payload = _keystream(password, salt, nonce, levels + bytes([side]))
    text = json.dumps(notes, sort_keys=True, separators=(",", ":"), allow_nan=False)
    head = HEAD.pack(VERSION, MODE_BYTES[mode], rows, size, len(text.encode()))
    body = head + salt + nonce + text.encode() + payload
    return body + hashlib.sha256(body).digest()


def unseal(data: bytes) -> Sealed:
    """Read what ``seal`` wrote into the bytes of a PNG file.

    Raises:
        SealedError: not a PNG, no code in it, a damaged file, or one made by a
            newer version. A wrong password is never noticed, here or later.
    """
    try:
        bodies = [body for kind, body in read_png_chunks(data) if kind == CHUNK]
    except ImageError as error:
        raise SealedError(str(error)) from error
    if not bodies:
        raise SealedError(
            "this PNG carries no FaceRSA code: it was not encrypted here, was saved "
            "by another program, or was made with --chunk none; use the original "
            "file."
        )
    if len(bodies) > 1:
        raise SealedError(_DAMAGED.format("two codes"))
    return unpack(bodies[0])


def unpack(body: bytes) -> Sealed:
    """The inverse of ``pack``; raises ``SealedError`` as ``unseal`` does."""
    if body and body[0] != VERSION:
        raise SealedError(
            f"this file has format {body[0]} and this program reads {VERSION}: "
            "upgrade facersa, or get an intact copy of the file."
        )
    start = HEAD.size + SALT_BYTES + NONCE_BYTES
    stored, digest = body[:-DIGEST_BYTES], body[-DIGEST_BYTES:]
    if len(stored) < start or hashlib.sha256(stored).digest() != digest:
        raise SealedError(_DAMAGED.format("its digest does not match"))
    _, mode, rows, size, length = HEAD.unpack_from(stored)
    payload = stored[start + length :]
    try:
        name = {byte: name for name, byte in MODE_BYTES.items()}[mode]
        if not (0 < rows <= MAX_ROWS and 0 < size <= MAX_SIZE and length <= MAX_JSON):
            raise ValueError("shape")
        notes = json.loads(stored[start : start + length])
        params, geometry = dict(notes["params"]), dict(notes["geometry"])
        prior = fingerprint = None
        if name == "honey":
            stored_prior: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value
                for key, value in notes["prior"].items()
            }
            prior, fingerprint = HoneyPrior(**stored_prior), str(notes["statistics"])
            if len(prior.scales) != rows or len(payload) != 2 * rows * size + 1:
                raise ValueError("length")
    except _SENSELESS as error:
        raise SealedError(_DAMAGED.format("its header makes no sense")) from error
    salt = stored[HEAD.size : HEAD.size + SALT_BYTES]
    nonce = stored[HEAD.size + SALT_BYTES : start]
    return Sealed(
        name, salt, params, geometry, payload, (rows, size), nonce, prior, fingerprint
    )


def _keystream(password: Password, salt: bytes, nonce: bytes, data: bytes) -> bytes:
    """``data`` XOR ChaCha20 (RFC 8439, from block 0): its own inverse."""
    key = stretch(password.shared_secret(), salt, 32)
    cipher = Cipher(algorithms.ChaCha20(key, bytes(4) + nonce), mode=None)
    return cipher.encryptor().update(data)
