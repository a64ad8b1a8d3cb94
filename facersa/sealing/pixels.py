"""The code in the pixels: an encrypted picture that has lost its chunk.

A picture does not determine the code it was drawn from: codes that paint the same
pixels differ by more than their own size. So the pixels must carry the code, and a
watermark does (see ``watermark``). It holds what an ambiguous chunk holds, in
the same ciphertext: the code in half a kilobyte (see ``compact``), the salt, the
settings of the cipher and the place of the face. A Reed-Solomon code corrects the bits
that JPEG flips, and a checksum over the ciphertext tells whether all were corrected.
Nothing here depends on the password, so a wrong one is not noticed.

There is room for one face: of several, the first that was encrypted for the pixels.
``FORMAT.md`` describes the bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from reedsolo import ReedSolomonError, RSCodec
from torch import Tensor

from facersa.cipher.catalogue import CATALOGUE
from facersa.cipher.description import upgrade
from facersa.cipher.password import SALT_BYTES, SCHEME
from facersa.errors import SealedError
from facersa.generator.statistics import WStatistics
from facersa.photo.images import decode_photo, jpeg_bytes, resize, to_float
from facersa.sealing.compact import CompactCode
from facersa.sealing.sealed import Sealed
from facersa.sealing.watermark import (
    CAPACITY,
    MIN_SIDE,
    STEPS,
    embed,
    frame_of,
    read_frame,
)

VERSION = SCHEME  # of the mark; older ones are read too, see FORMAT.md
NONCE = b"facersa pix1"  # one salt a picture, so one nonce for all

# Bits beside the cipher's number, for what changes how a face is painted back. Where
# none is set the mark is as it always was; versions before them ask for an upgrade.
FLAGS = {"tone": 0x80, "others": 0x40, "detail": 0x20}
# Settings of a cipher that the head has room for.
SETTINGS = {"layers", "context", "kappa", "kept"}
CONTEXTS = 32  # rows; above, in the same byte, half the number of kept directions
# version, cipher, bits, rows as a mask, context row and kept; kappa or the fingerprint
# of weights, then the oval; salt; place. Version 1 had kappa and fingerprint, no oval.
HEAD = struct.Struct(f">BBHIB8s8s{SALT_BYTES}s4f")
BLOCK_BYTES, PARITY = 255, 64  # Reed-Solomon: corrects 32 wrong bytes a block
BLOCKS = CAPACITY // 8 // BLOCK_BYTES
DATA_BYTES = BLOCKS * (BLOCK_BYTES - PARITY)
CHECK_BYTES = 4
PAYLOAD_BYTES = DATA_BYTES - HEAD.size - CHECK_BYTES
CODE_BITS = 8 * PAYLOAD_BYTES - 1  # and one bit for which of the pair it was
MIN_READ = 128  # pixels: no mark is left in smaller pictures
ERASED = (0, 24, 48)  # least clear bytes of a block to give up, tried in turn


def write(image: Tensor, sealed: Sealed) -> Tensor | None:
    """Put what ``sealed`` holds into the pixels of a picture (1, 3, H, W).

    The mark is the faintest that is still read after JPEG 75 and a copy of half the
    size. Where none is, which is so in small pictures, that of JPEG 75 must do.

    Returns:
        The marked picture, of the dtype of ``image``, or None where the picture is
        too small for a code, or the cipher has settings that the mark has no room for.

    Raises:
        ValueError: ``sealed`` does not hold a compact code.
    """
    if not isinstance(sealed.prior, CompactCode) or sealed.nonce != NONCE:
        raise ValueError("the pixels hold compact codes only; seal with one.")
    public = set(CATALOGUE[sealed.params["cipher"]].public)
    if min(image.shape[-2:]) < MIN_SIDE or not public <= SETTINGS:
        return None
    message = _message(sealed)
    protected = RSCodec(PARITY, nsize=BLOCK_BYTES).encode(message)
    bits = np.zeros(CAPACITY, dtype=np.uint8)
    bits[: 8 * len(protected)] = np.unpackbits(np.frombuffer(protected, np.uint8))
    spare: float | None = None
    for step in STEPS:
        marked = embed(image, bits, step)
        if _reads(frame_of(marked, _pressed), step, message):
            if _reads(frame_of(marked, _pressed_and_halved), step, message):
                return marked
            spare = step if spare is None else spare
        del marked  # one copy of a large photograph is enough
    return None if spare is None else embed(image, bits, spare)


def find(image: Tensor, statistics: WStatistics | None = None) -> Sealed:
    """Read from a picture (1, 3, H, W) what ``write`` put there.

    Of the geometry "others" is only known to be: True, where squares should be.

    Raises:
        SealedError: there is nothing, or too much of it was lost.
    """
    height, width = image.shape[-2:]
    large = min(height, width) >= MIN_READ
    message = _read(frame_of(image)) if large else None
    if message is None:
        raise SealedError(
            "no code can be read from these pixels: the picture was not encrypted "
            "here, or was cropped, shrunk or compressed too far; get a copy closer to "
            "the original."
        )
    return unpack(message[:-CHECK_BYTES], (height, width), statistics)


def unpack(
    body: bytes, size: tuple[int, int], statistics: WStatistics | None = None
) -> Sealed:
    """What a mark holds: its corrected bytes, in a picture of (height, width) ``size``.

    Raises:
        SealedError: it was made by a newer version.
    """
    if not 1 <= body[0] <= VERSION:
        raise SealedError(
            f"these pixels hold format {body[0]} and this program reads 1 to "
            f"{VERSION}: upgrade facersa."
        )
    params, salt, geometry = _unpack_settings(body, size)
    stats = WStatistics.load() if statistics is None else statistics
    table = CompactCode.load()
    rows, width = table.depths.shape
    return Sealed(
        "ambiguous",
        salt,
        params,
        geometry,
        body[HEAD.size :],
        (rows, width),
        NONCE,
        table,
        stats.fingerprint(),
        scheme=body[0],
    )


def _message(sealed: Sealed) -> bytes:
    head = _pack_settings(sealed.scheme, sealed.params, sealed.salt, sealed.geometry)
    body = head + sealed.payload
    message = body + _check(body)
    if len(message) != DATA_BYTES:
        raise ValueError(f"expected {DATA_BYTES} bytes, got {len(message)}.")
    return message


def _check(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(CHECK_BYTES, "big")


def _pressed(band: Tensor) -> Tensor:
    """Rows of a picture after JPEG: each block of it stands alone."""
    return decode_photo(jpeg_bytes(band, quality=75))


def _pressed_and_halved(band: Tensor) -> Tensor:
    height, width = band.shape[-2:]
    return resize(to_float(_pressed(band)), (max(1, height // 2), width // 2))


def _reads(frame: np.ndarray, step: float, message: bytes) -> bool:
    return _corrected(read_frame(frame, step)) == message


def _read(frame: np.ndarray) -> bytes | None:
    """The message in the frame of a picture, written at any of the steps."""
    readings = (_corrected(read_frame(frame, step)) for step in STEPS)
    return next((message for message in readings if message is not None), None)


def _corrected(reading: np.ndarray) -> bytes | None:
    """The message under readings (``CAPACITY``,) of its bits; None if it is lost."""
    count = 8 * BLOCKS * BLOCK_BYTES
    received = np.packbits(reading[:count] > 0).reshape(BLOCKS, BLOCK_BYTES)
    clear = np.abs(reading[:count]).reshape(BLOCKS, BLOCK_BYTES, 8).min(-1)
    parts = [_correct_block(b, c) for b, c in zip(received, clear, strict=True)]
    message = b"".join(part for part in parts if part is not None)
    whole = len(message) == DATA_BYTES
    intact = whole and _check(message[:-CHECK_BYTES]) == message[-CHECK_BYTES:]
    return message if intact else None


def _correct_block(received: np.ndarray, clear: np.ndarray) -> bytes | None:
    """One block of Reed-Solomon, (``BLOCK_BYTES``,) bytes and how clear each is."""
    codec, doubt = RSCodec(PARITY, nsize=BLOCK_BYTES), clear.argsort().tolist()
    for erased in ERASED:
        try:
            return bytes(codec.decode(received.tobytes(), erase_pos=doubt[:erased])[0])
        except ReedSolomonError:
            continue
    return None


def _pack_settings(
    version: int, params: Mapping[str, Any], salt: bytes, geometry: Mapping[str, Any]
) -> bytes:
    flags = sum(bit for name, bit in FLAGS.items() if geometry.get(name))
    kappa = struct.pack(">d", params.get("kappa", 0.0))
    weights = bytes.fromhex(params.get("weights", "00" * 8))
    oval = bytes(geometry.get("oval", ())).ljust(8, b"\0")
    eights = (kappa, weights) if version == 1 else (max(kappa, weights), oval)
    return HEAD.pack(
        version,
        CATALOGUE[params["cipher"]].file_id | flags,
        params["num_bits"],
        sum(1 << row for row in params.get("layers", ())),
        params.get("context", 0) + CONTEXTS * (params.get("kept", 0) // 2),
        *eights,
        salt,
        *_pack_place(geometry),
    )


def _unpack_settings(
    body: bytes, size: tuple[int, int]
) -> tuple[dict[str, Any], bytes, dict[str, Any]]:
    version, first, bits, mask, context, *eights, salt, x, y, right, over = (
        HEAD.unpack_from(body)
    )
    weights = eights[1] if version == 1 else eights[0]
    (kappa,) = struct.unpack(">d", eights[0])
    flags: dict[str, Any] = {name: True for name, bit in FLAGS.items() if first & bit}
    number = first & ~sum(FLAGS.values())
    names = [n for n, entry in CATALOGUE.items() if entry.file_id == number]
    if not names:
        raise SealedError(
            f"these pixels ask for cipher {number}, which this version does not know; "
            "upgrade facersa."
        )
    layers = [row for row in range(32) if mask >> row & 1]
    kept, context = divmod(context, CONTEXTS)
    settings = {"layers": layers, "context": context, "kappa": kappa}
    settings |= {"kept": 2 * kept} if kept else {}
    entry = CATALOGUE[names[0]]
    params: dict[str, Any] = {"cipher": names[0], "num_bits": bits}
    params |= {key: settings[key] for key in entry.public if key in settings}
    if entry.learned:
        params["weights"] = weights.hex()
    if version > 1 and any(eights[1]):
        flags["oval"] = list(eights[1][:6])
    return upgrade(params), salt, _unpack_place((x, y, right, over), size) | flags


def _pack_place(geometry: Mapping[str, Any]) -> Sequence[float]:
    """Corner and upper edge of the face's square, in widths and heights."""
    if not geometry:
        return (0.0, 0.0, 0.0, 0.0)
    height, width = geometry["photo_size"]
    (x, y), _, _, (right, over) = geometry["quad"]
    return (x / width, y / height, (right - x) / width, (over - y) / height)


def _unpack_place(place: Sequence[float], size: tuple[int, int]) -> dict[str, Any]:
    if not any(place):
        return {}
    height, width = size
    x, y = place[0] * width, place[1] * height
    across, over = place[2] * width, place[3] * height
    corners = ((0, 0), (-over, across), (across - over, across + over), (across, over))
    quad = [[x + right, y + down] for right, down in corners]
    return {"quad": quad, "photo_size": [height, width]}
