"""Bits in the pixels: a faint mark that survives JPEG and a change of size.

Spread-transform dither modulation (Chen and Wornell 2001). The picture's luma is
brought to 512 x 512 whatever its size and shape, cut into blocks of 8 x 8, and the
lowest cosine coefficients of all blocks are shared out, shuffled, in groups. Each
group carries one bit: a weighted sum of its coefficients is moved to the nearest
point of one of two interleaved grids. Low frequencies are what JPEG keeps best and
what is left when a picture shrinks.

The places are public. Anybody can find the mark, and anybody can destroy it: it makes a
picture recoverable, not authentic. A mark that only the password could find would tell
whether a password is right.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from scipy.fft import dctn, idctn
from torch import Tensor

from facersa.errors import ImageError
from facersa.ops import check_shape
from facersa.photo.images import bands, resample, to_float, to_uint8

SIDE = 512  # of the frame in which marks are written and read
BLOCK = 8
BLOCKS = (SIDE // BLOCK) ** 2
BANDS = ((0, 1), (1, 0), (1, 1), (0, 2), (2, 0), (1, 2), (2, 1), (0, 3), (3, 0))
SPREAD = 6  # coefficients that share one bit
STEPS = (16.0, 20.0, 24.0, 28.0)  # of the grids, in grey levels: faint to robust
CAPACITY = BLOCKS * len(BANDS) // SPREAD
ROUNDS = 3  # the frame is not exactly the picture, so writing is repeated
# Shrinking a picture fades its finer coefficients; reading tries to undo that.
GAINS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.08)
MIN_SIDE = 256  # pixels; below, the lowest coefficients themselves are lost
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def embed(image: Tensor, bits: np.ndarray, step: float = STEPS[-1]) -> Tensor:
    """Write ``bits`` (``CAPACITY``,) of 0 and 1 into a picture (1, 3, H, W).

    The result is of whole grey levels, as a file will hold them, and of the dtype of
    the picture: uint8, or float32 in [-1, 1]. Its PSNR against the picture is about
    46 dB at a step of 28 levels and 51 at 16.

    Raises:
        ImageError: the picture is too small to carry them.
        ValueError: another number of bits.
    """
    check_shape(image, 1, 3, None, None, name="image")
    if bits.shape != (CAPACITY,):
        raise ValueError(f"expected {CAPACITY} bits, got {bits.shape}.")
    height, width = image.shape[-2:]
    if min(height, width) < MIN_SIDE:
        raise ImageError(
            f"a picture of {width} x {height} pixels is too small to hold a code; at "
            f"least {MIN_SIDE} x {MIN_SIDE} are needed: use a larger one."
        )
    places, signs, dither = _layout()
    offsets = (dither + bits / 2) * step
    levels = to_uint8(image)[0]
    marked, total = levels.copy(), np.zeros((SIDE, SIDE), dtype=np.float32)
    result = torch.from_numpy(marked).permute(2, 0, 1)[None]  # the same memory
    goal: np.ndarray | None = None
    for _ in range(ROUNDS):
        sums = _sums(_coefficients(frame_of(result)))
        if goal is None:
            goal = np.round((sums - offsets) / step) * step + offsets
        change = np.zeros(BLOCKS * len(BANDS))
        change[places] = (goal - sums)[:, None] * signs
        total += _picture_of(change)
        for rows in bands(width, height):
            box = (0, rows.start * SIDE / height, SIDE, rows.stop * SIDE / height)
            faint = resample(total, (width, rows.stop - rows.start), "bicubic", box)
            changed = levels[rows] + faint[..., None]
            marked[rows] = np.rint(changed, out=changed).clip(0, 255, out=changed)
    return result if image.dtype == torch.uint8 else to_float(result)


def read(image: Tensor, step: float = STEPS[-1]) -> np.ndarray:
    """What a picture (1, 3, H, W) says of each bit; see ``read_frame``."""
    return read_frame(frame_of(image), step)


def frame_of(
    image: Tensor, sent: Callable[[Tensor], Tensor] | None = None
) -> np.ndarray:
    """The luma (``SIDE``, ``SIDE``) of a picture (1, 3, H, W), where marks are read.

    ``sent`` is what happens to each band of rows on its way to the reader.
    """
    check_shape(image, 1, 3, None, None, name="image")
    height, width = image.shape[-2:]
    narrow = []
    for rows in bands(width, height):
        band = image[:, :, rows]
        levels = to_uint8(band if sent is None else sent(band))[0]
        narrow.append(resample(levels @ _LUMA, (SIDE, len(levels)), "lanczos"))
    return resample(np.concatenate(narrow), (SIDE, SIDE), "lanczos")


def read_frame(frame: np.ndarray, step: float) -> np.ndarray:
    """What a frame of ``frame_of`` says of each bit: (``CAPACITY``,) in [-1, 1].

    Positive where the bit is 1; the size tells how clearly. ``step`` is that of the
    writer. A picture without a mark gives noise.
    """
    coefficients = _coefficients(frame)
    fineness = np.array([u * u + v * v for u, v in BANDS])
    readings = []
    for gain in GAINS:
        sums = _sums(coefficients * (1 + gain * fineness))
        readings.append(-np.cos(2 * np.pi * (sums / step - _layout()[2])))
    return max(readings, key=lambda reading: float(np.square(reading).mean()))


@lru_cache(maxsize=1)
def _layout() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places and weights (CAPACITY, SPREAD) of each bit, and its grid's offset."""
    rng = np.random.RandomState(20240220)  # NumPy promises never to change this one
    places = rng.permutation(BLOCKS * len(BANDS))[: CAPACITY * SPREAD]
    signs = (rng.randint(2, size=(CAPACITY, SPREAD)) * 2 - 1) / SPREAD**0.5
    return places.reshape(CAPACITY, SPREAD), signs, rng.random_sample(CAPACITY)


def _sums(coefficients: np.ndarray) -> np.ndarray:
    places, signs, _ = _layout()
    return (coefficients.ravel()[places] * signs).sum(1)


def _coefficients(frame: np.ndarray) -> np.ndarray:
    """Low cosine coefficients (BLOCKS, BANDS) of a luma (SIDE, SIDE)."""
    count = SIDE // BLOCK
    blocks = frame.reshape(count, BLOCK, count, BLOCK).transpose(0, 2, 1, 3)
    spectrum = dctn(blocks.astype(np.float64), axes=(2, 3), norm="ortho")
    return np.stack([spectrum[..., u, v] for u, v in BANDS], -1).reshape(BLOCKS, -1)


def _picture_of(change: np.ndarray) -> np.ndarray:
    """The inverse of ``_coefficients``, other frequencies zero: (SIDE, SIDE)."""
    count = SIDE // BLOCK
    spectrum = np.zeros((count, count, BLOCK, BLOCK))
    for index, (u, v) in enumerate(BANDS):
        spectrum[..., u, v] = change.reshape(count, count, -1)[..., index]
    blocks = idctn(spectrum, axes=(2, 3), norm="ortho")
    return blocks.transpose(0, 2, 1, 3).reshape(SIDE, SIDE).astype(np.float32)
