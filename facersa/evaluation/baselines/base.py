"""The contract of the other systems, and what several of them share.

The paper compares with systems that have networks, data and code of their own. None of
them runs here. Each "X-like" system carries out the idea of X on the generator, the
people and the judges that this package uses for all, so that ideas are compared and not
data sets. Its ``Facts`` say where it differs from the original.

A picture system maps pictures to pictures and has no password. A code system maps codes
under a password to codes; one that can be undone has ``decrypt``, which is given the
code that encrypted, whatever the system makes of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from facersa.cipher.base import add_rows, check_code, check_ws
from facersa.generator.statistics import WStatistics

NUM_BITS = 16  # of a password, as in the paper
FACE_ROWS = (3, 4, 5, 6, 7, 8)  # what holds identity, of the systems without training
Edit = Callable[[Tensor, Tensor], Tensor]  # codes, passwords to codes


@dataclass(frozen=True)
class Facts:
    """What a system is, and what the original is.

    Attributes:
        name: of the system here.
        original: its authors, title and where it was published.
        year: of that, or about when it became usual.
        cite: key in ``book/references.bib``.
        idea: one sentence, which both share.
        differs: aspect, the original, the system here.
    """

    name: str
    original: str
    year: int
    cite: str
    idea: str
    differs: tuple[tuple[str, str, str], ...]


class PictureSystem(Protocol):
    """Changes pictures for good."""

    @property
    def facts(self) -> Facts:
        """What it is."""

    def __call__(self, pictures: Tensor) -> Tensor:
        """Aligned faces (B, 3, R, R) in [-1, 1] to pictures of the same shape."""


class CodeSystem(Protocol):
    """Changes codes under a password: ``system(ws, code) -> ws``."""

    @property
    def facts(self) -> Facts:
        """What it is."""

    @property
    def num_bits(self) -> int:
        """Length N of a password code."""

    @property
    def decrypt(self) -> Edit | None:
        """Undo what ``code`` did: ``decrypt(ws, code) -> ws``; None where nothing can.

        ``code`` is the one that encrypted, also where the system decrypts with -code.
        """

    def __call__(self, ws: Tensor, code: Tensor) -> Tensor:
        """Codes (B, rows, 512), passwords (B, N) or (1, N) to codes (B, rows, 512)."""


def edit_whitened(
    ws: Tensor,
    layers: Sequence[int],
    statistics: WStatistics,
    change: Callable[[Tensor], Tensor],
) -> Tensor:
    """Codes whose rows ``layers`` became ``change`` of their whitened coordinates.

    ``change`` maps (B, len(layers), 512) float64, where w is a standard normal, to the
    same shape. Other rows come back bit for bit.
    """
    rows = tuple(layers)
    check_ws(ws, rows)
    stats = statistics.to(ws.device)
    z = stats.whiten(ws[:, list(rows)])
    step = (change(z) - z) @ stats.colourer()
    return add_rows(ws, rows, step)


def replace_rows(ws: Tensor, layers: Sequence[int], rows: Tensor) -> Tensor:
    """``ws`` with ``layers`` taken from the codes ``rows`` (B, rows, 512)."""
    check_ws(ws, tuple(layers))
    chosen = list(layers)
    replaced = ws.clone()
    replaced[:, chosen] = rows[:, chosen].to(ws)
    return replaced


def password_bytes(code: Tensor, ws: Tensor, num_bits: int, count: int) -> np.ndarray:
    """``count`` bytes of SHAKE-256 for each password, (B, count) uint8.

    Systems whose passwords are looked up, not computed with, begin here: a bit flip
    gives other bytes, and so does every sum.
    """
    units = (check_code(code, ws, num_bits) * 2).round().to(torch.int8).cpu().numpy()
    streams = [
        hashlib.shake_256(b"facersa baseline" + row.tobytes()).digest(count)
        for row in units
    ]
    return np.frombuffer(b"".join(streams), np.uint8).reshape(len(units), count)


def password_normals(code: Tensor, ws: Tensor, num_bits: int, size: int) -> Tensor:
    """A standard normal vector for each password, (B, size) float64."""
    data = password_bytes(code, ws, num_bits, 4 * size)
    uniform = (data.view("<u4").astype(np.float64) + 0.5) / 2**32
    return torch.special.ndtri(torch.from_numpy(uniform))
