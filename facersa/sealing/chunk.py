"""The file a user keeps: a PNG whose extra chunk carries a face, see ``sealed``.

A picture of several encrypted faces has a chunk for each, with a salt of its own. The
chunk shows that the picture was anonymised, and by what.

The SHA-256 digest covers stored bytes only. It finds damage, not forgery.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from facersa.cipher.description import upgrade
from facersa.cipher.password import SALT_BYTES, SCHEME
from facersa.errors import ImageError, SealedError
from facersa.photo.images import png_bytes, read_png_chunks
from facersa.photo.square import MAX_OTHERS
from facersa.sealing.compact import CompactCode
from facersa.sealing.prior import NormalPrior
from facersa.sealing.sealed import (
    DAMAGED,
    HEAD,
    MAX_DETAIL,
    MODE_BYTES,
    NONCE_BYTES,
    TAG_BYTES,
    VERSION,
    Prior,
    Sealed,
    head_of,
    notes_of,
    text_of,
)

CHUNK = b"faRs"
DIGEST_BYTES = 32
MAX_ROWS, MAX_SIZE, MAX_JSON = 64, 4096, 2**16
MAX_NUMBER = 1e12  # in JSON
MAX_FACES = 64  # encrypted in one picture
# All that stored JSON of the wrong form can raise.
_SENSELESS = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)


def seal(image: Tensor, *sealed: Sealed) -> bytes:
    """PNG file bytes of ``image`` (1, 3, H, W) with each of ``sealed`` in a chunk."""
    return png_bytes(image, [(CHUNK, pack(one)) for one in sealed])


def pack(sealed: Sealed) -> bytes:
    """The chunk's bytes, for ``seal``: head, salt, nonce, JSON, payload, digest.

    The payload is the code, and the detail after it.

    Raises:
        ValueError: values that JSON cannot hold.
    """
    text = text_of(notes_of(sealed))
    body = head_of(sealed, len(text)) + sealed.salt + sealed.nonce + text
    body += sealed.payload + sealed.detail
    return body + hashlib.sha256(body).digest()


def unseal(data: bytes) -> Sealed:
    """Read what ``seal`` wrote into a PNG file, where that is one code.

    Raises:
        SealedError: as ``unseal_all`` does, and for several codes.
    """
    faces = unseal_all(data)
    if len(faces) > 1:
        raise SealedError(
            f"this file holds {len(faces)} encrypted faces; read them with unseal_all."
        )
    return faces[0]


def unseal_all(data: bytes) -> list[Sealed]:
    """Read what ``seal`` wrote into the bytes of a PNG file, in the same order.

    Raises:
        SealedError: not a PNG, no code in it, a damaged file, or one made by a
            newer version. Nothing here depends on a password.
    """
    try:
        bodies = [body for kind, body in read_png_chunks(data) if kind == CHUNK]
    except ImageError as error:
        raise SealedError(str(error)) from error
    if len(bodies) > MAX_FACES:
        raise SealedError(
            f"this file holds {len(bodies)} codes, and at most {MAX_FACES} are read: "
            "get an intact copy of it."
        )
    if not bodies:
        raise SealedError(
            "this PNG carries no FaceRSA code: it was not encrypted here, was saved "
            "by another program, or was made with --chunk none; use the original "
            "file, or try --from-pixels."
        )
    faces = [unpack(body) for body in bodies]
    if len({sealed.salt for sealed in faces}) < len(faces):
        raise SealedError(DAMAGED.format("two codes under one salt"))
    return faces


def unpack(body: bytes) -> Sealed:
    """The inverse of ``pack``; raises ``SealedError`` as ``unseal`` does."""
    if body and not 1 <= body[0] <= VERSION:
        raise SealedError(
            f"this file has format {body[0]} and this program reads 1 to {VERSION}: "
            "upgrade facersa, or get an intact copy of the file."
        )
    start = HEAD.size + SALT_BYTES + NONCE_BYTES
    stored, digest = body[:-DIGEST_BYTES], body[-DIGEST_BYTES:]
    if len(stored) < start or hashlib.sha256(stored).digest() != digest:
        raise SealedError(DAMAGED.format("its digest does not match"))
    version, mode, rows, size, length = HEAD.unpack_from(stored)
    payload, detail = stored[start + length :], b""
    try:
        name = {byte: name for name, byte in MODE_BYTES.items()}[mode]
        if not (0 < rows <= MAX_ROWS and 0 < size <= MAX_SIZE and length <= MAX_JSON):
            raise ValueError("shape")
        text = stored[start : start + length]
        notes = json.loads(
            text, parse_int=_number, parse_float=_number, parse_constant=_number
        )
        params, geometry = upgrade(notes["params"]), dict(notes["geometry"])
        prior = fingerprint = None
        if type(params.get("num_bits", 0)) is not int:
            raise ValueError("bits")
        if len(geometry.get("others", ())) > MAX_OTHERS:
            raise ValueError("squares")
        if name != "open":
            prior, fingerprint = _prior(notes["prior"]), str(notes["statistics"])
            after = _detail_bytes(notes) if version == VERSION else 0
            count = prior.payload_bytes(rows, size)
            count += TAG_BYTES if name == "sealed" else 0
            if len(payload) != count + after:
                raise ValueError("length")
            payload, detail = payload[:count], payload[count:]
        elif version == VERSION:
            raise ValueError("detail")
    except _SENSELESS as error:
        raise SealedError(DAMAGED.format("its header makes no sense")) from error
    salt = stored[HEAD.size : HEAD.size + SALT_BYTES]
    nonce = stored[HEAD.size + SALT_BYTES : start]
    return Sealed(
        name,
        salt,
        params,
        geometry,
        payload,
        (rows, size),
        nonce,
        prior,
        fingerprint,
        scheme=max(1, min(version - 1, SCHEME)),
        detail=detail,
    )


def _detail_bytes(notes: Mapping[str, Any]) -> int:
    count = notes["detail"]
    if type(count) is not int or not TAG_BYTES < count <= MAX_DETAIL:
        raise ValueError("detail")
    return count


def _number(text: str) -> int | float:
    """A number of the header; none that stands there is long, infinite or NaN."""
    number = float(text)
    if not (math.isfinite(number) and abs(number) <= MAX_NUMBER):
        raise ValueError(f"number {text[:20]}")
    return number if set(text) & set(".eE") else int(text)


def _prior(stored: Mapping[str, Any]) -> Prior:
    if "compact" not in stored:
        numbers: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in stored.items()
        }
        return NormalPrior(**numbers)
    if (table := CompactCode.load()).fingerprint() != stored["compact"]:
        raise ValueError("another table of bits")
    return table
