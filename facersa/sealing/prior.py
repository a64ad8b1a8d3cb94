"""Codes of people to uniform numbers and back, so that any numbers are somebody.

Uniform numbers under a stream cipher come out of any key as uniform numbers, so as a
draw from the prior: a wrong password gives a person and no error. Honey encryption
(Juels and Ristenpart 2014) promises more, that nobody can tell this draw from what was
sealed. That would need a prior from which sealed codes cannot be told, and nothing else
to check a guess by. Neither holds here (see ``evaluation.guesses``), so nothing in this
package is called honey.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facersa.generator.statistics import WStatistics, cosine_basis
from facersa.ops import check_shape

LEVELS = 2**16


@dataclass(frozen=True)
class NormalPrior:
    """What codes of people look like, and so what a wrong password decodes to.

    The rows of whitened coordinates z are taken apart by an orthonormal cosine
    transform: coefficient 0 is sqrt(rows) times the mean row, the others are
    contrasts between rows. Coefficient j divided by scales[j] follows a standard
    normal, with a share ``tail_weight`` of one ``tail_scale`` times as wide.

    The defaults are about what inversions of photographs measure.
    """

    scales: tuple[float, ...] = (3.2,) + (0.3,) * 15
    tail_weight: float = 1 / 256
    tail_scale: float = 4.0

    def __post_init__(self) -> None:
        numbers = (*self.scales, self.tail_weight, self.tail_scale)
        if (
            not all(math.isfinite(number) for number in numbers)
            or len(self.scales) < 2
            or not all(1e-6 <= scale <= 1e6 for scale in self.scales)
            or not (0 <= self.tail_weight < 1 and 1 <= self.tail_scale <= 100)
        ):
            raise ValueError(
                "a prior needs positive scales, a tail weight in [0, 1) and a tail "
                f"scale in [1, 100], got {self}."
            )

    @classmethod
    def of_rows(cls, rows: int) -> NormalPrior:
        """The default for codes of so many rows."""
        return cls(scales=(3.2,) + (0.3,) * (rows - 1))

    def standardise(self, ws: Tensor, statistics: WStatistics) -> Tensor:
        """Codes (..., rows, D) to coefficients that should be standard normal."""
        basis = cosine_basis(len(self.scales))
        return basis @ statistics.whiten(ws) / self._deviations

    def encode(self, ws: Tensor, statistics: WStatistics) -> np.ndarray:
        """One code (rows, D) to uniform numbers: (rows, D) uint16.

        Coefficients beyond the last quantile (11.5 deviations) are clipped.
        """
        x = self.standardise(ws, statistics)
        share = _share_below(x, self.tail_weight, self.tail_scale)
        return (share * LEVELS).floor().clamp(0, LEVELS - 1).numpy().astype(np.uint16)

    def decode(self, levels: np.ndarray, statistics: WStatistics) -> Tensor:
        """The inverse of ``encode``: any numbers give a code (rows, D) float32."""
        table = _quantiles(self.tail_weight, self.tail_scale)
        x = torch.from_numpy(table[levels]) * self._deviations
        return statistics.unwhiten(cosine_basis(len(self.scales)).T @ x).float()

    def quantise(self, ws: Tensor, statistics: WStatistics) -> Tensor:
        """Round codes (B, rows, D) to what a file can hold.

        Doing it twice changes nothing more. In whitened coordinates it costs
        less than 1e-3 within 2.5 deviations.
        """
        check_shape(ws, None, len(self.scales), len(statistics.mean), name="ws")
        rounded = [self.decode(self.encode(w, statistics), statistics) for w in ws]
        return torch.stack(rounded).to(ws.dtype)

    def to_dict(self) -> dict[str, Any]:
        """The numbers that make it again, ready for JSON."""
        return asdict(self)

    def payload_bytes(self, rows: int, size: int) -> int:
        """Length of what ``to_bytes`` makes of a code (rows, size).

        Raises:
            ValueError: the prior is one of codes with other rows.
        """
        if rows != len(self.scales):
            raise ValueError(f"expected {len(self.scales)} rows, got {rows}.")
        return 2 * rows * size + 1

    def to_bytes(self, ws: Tensor, side: bool, statistics: WStatistics) -> bytes:
        """One code (rows, D) and a bit as bytes, to be hidden by a stream cipher."""
        levels = self.encode(ws, statistics).astype(">u2").tobytes()
        # The bit stands among random ones, so that the last byte is uniform too.
        return levels + bytes([secrets.randbits(7) << 1 | side])

    def from_bytes(self, data: bytes, statistics: WStatistics) -> tuple[Tensor, bool]:
        """The inverse of ``to_bytes``."""
        levels = np.frombuffer(data[:-1], dtype=">u2").astype(np.int64)
        shape = len(self.scales), len(statistics.mean)
        return self.decode(levels.reshape(shape), statistics), bool(data[-1] & 1)

    @property
    def _deviations(self) -> Tensor:
        return torch.tensor(self.scales, dtype=torch.float64)[:, None]


@lru_cache(maxsize=4)
def _quantiles(tail_weight: float, tail_scale: float) -> np.ndarray:
    """Middle of each of 65536 equally likely slices, by bisection."""
    share = (torch.arange(LEVELS // 2, dtype=torch.float64) + 0.5) / LEVELS
    low, high = torch.full_like(share, -5 * tail_scale), torch.zeros_like(share)
    for _ in range(52):
        middle = (low + high) / 2
        below = _share_below(middle, tail_weight, tail_scale) < share
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    lower = (low + high) / 2
    return torch.cat([lower, -lower.flip(0)]).numpy()


def _share_below(x: Tensor, tail_weight: float, tail_scale: float) -> Tensor:
    narrow, wide = torch.special.ndtr(x), torch.special.ndtr(x / tail_scale)
    return torch.lerp(narrow, wide, tail_weight)
