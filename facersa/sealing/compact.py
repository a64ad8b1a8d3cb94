"""A person's code in about half a kilobyte.

A W+ code has 16 x 512 numbers, but a picture shows few of them: in whitened
coordinates of the mean row and of contrasts between rows, what the judges see lies
in some dozens of leading axes. So each coordinate gets bits by how much it shows
(greedy reverse water-filling), most of them none. Bits are those of equally likely
slices of a normal distribution, so any bits at all decode to a draw from the prior:
to somebody (see ``prior``).
"""

from __future__ import annotations

import hashlib
import heapq
import math
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import save
from scipy.special import ndtri
from torch import Tensor

from facersa.assets.registry import shipped_weights
from facersa.generator.statistics import WStatistics, cosine_basis
from facersa.ops import check_shape

MAX_DEPTH = 8  # bits of one coordinate
# Up to which axis, and there: deviation of the mean row's coefficient, of a contrast's.
WIDTHS = (
    (32, 3.4, 0.49),
    (64, 3.4, 0.42),
    (128, 3.4, 0.33),
    (256, 3.4, 0.21),
    (512, 2.6, 0.11),
)
FILE = "compact.safetensors"


@dataclass(frozen=True)
class CompactCode:
    """How a code of a person becomes bits, and bits a code.

    Attributes:
        depths: (rows, D) bits of each coefficient, uint8; see
            ``NormalPrior.standardise`` for the coefficients.
        widths: (rows, D) standard deviations of the coefficients.
        visibility: (rows, D) how much of each shows in the picture; bits were shared
            out by it.
    """

    depths: Tensor
    widths: Tensor
    visibility: Tensor

    @classmethod
    def load(cls) -> Self:
        """The table that ships with the package."""
        stored = shipped_weights(FILE)
        return cls(stored["depths"], stored["widths"].double(), stored["visibility"])

    @property
    def num_bits(self) -> int:
        """Length of a code in bits."""
        return int(self.depths.sum())

    def fingerprint(self) -> str:
        """16 hex digits that tell one table of bits from another."""
        data = self.depths.numpy().tobytes() + self.widths.float().numpy().tobytes()
        return hashlib.sha256(data).hexdigest()[:16]

    def encode(self, ws: Tensor, statistics: WStatistics) -> np.ndarray:
        """One code (rows, D) to bits (num_bits,) of 0 and 1."""
        check_shape(ws, *self.depths.shape, name="ws")
        share = torch.special.ndtr(self._standard(ws, statistics)).numpy()
        bits = []
        for depth, chosen in self._groups():
            levels = np.floor(share[chosen] * 2**depth).clip(0, 2**depth - 1)
            weights = 2 ** np.arange(depth)[::-1]
            bits.append((levels.astype(np.int64)[:, None] // weights % 2).ravel())
        return np.concatenate(bits).astype(np.uint8)

    def decode(self, bits: np.ndarray, statistics: WStatistics) -> Tensor:
        """The inverse of ``encode``: any bits give a code (rows, D) float32."""
        centres = np.zeros(tuple(self.depths.shape))
        start = 0
        for depth, chosen in self._groups():
            part = bits[start : start + depth * int(chosen.sum())]
            levels = part.reshape(-1, depth).astype(np.int64)
            centres[chosen] = _centres(depth)[levels @ 2 ** np.arange(depth)[::-1]]
            start += part.size
        z = cosine_basis(len(centres)).T @ (torch.from_numpy(centres) * self.widths)
        return statistics.unwhiten(z).float()

    def quantise(self, ws: Tensor, statistics: WStatistics) -> Tensor:
        """Round codes (B, rows, D) to what these bits hold; idempotent."""
        return torch.stack(
            [self.decode(self.encode(w, statistics), statistics) for w in ws]
        )

    def to_dict(self) -> dict[str, Any]:
        """What names this table in a file, ready for JSON."""
        return {"compact": self.fingerprint()}

    def payload_bytes(self, rows: int, size: int) -> int:
        """Length of what ``to_bytes`` makes of a code (rows, size).

        Raises:
            ValueError: the table is one of codes of another shape.
        """
        check_shape(self.depths, rows, size, name="the table")
        return -(-(self.num_bits + 1) // 8)

    def to_bytes(self, ws: Tensor, side: bool, statistics: WStatistics) -> bytes:
        """One code (rows, D) and a bit as bytes, to be hidden by a stream cipher."""
        bits = [*self.encode(ws, statistics), side]
        bits += [secrets.randbits(1) for _ in range(-len(bits) % 8)]
        return np.packbits(np.array(bits, dtype=np.uint8)).tobytes()

    def from_bytes(self, data: bytes, statistics: WStatistics) -> tuple[Tensor, bool]:
        """The inverse of ``to_bytes``."""
        bits = np.unpackbits(np.frombuffer(data, dtype=np.uint8))
        ws = self.decode(bits[: self.num_bits], statistics)
        return ws, bool(bits[self.num_bits])

    def _standard(self, ws: Tensor, statistics: WStatistics) -> Tensor:
        basis = cosine_basis(len(self.depths))
        return basis @ statistics.whiten(ws) / self.widths

    def _groups(self) -> list[tuple[int, np.ndarray]]:
        depths = self.depths.numpy()
        return [
            (depth, depths == depth)
            for depth in range(1, MAX_DEPTH + 1)
            if (depths == depth).any()
        ]

    def save(self) -> bytes:
        """The table as safetensors."""
        tensors = {
            "depths": self.depths,
            "widths": self.widths.float(),
            "visibility": self.visibility.float(),
        }
        return save({name: value.contiguous() for name, value in tensors.items()})


def photo_widths(rows: int, size: int) -> Tensor:
    """Standard deviations (rows, size) of the coefficients of inverted photographs.

    Coarse steps over the axes, as two inversions by ``project`` have them. The mean
    row counts sqrt(rows) times. Of the contrasts, leading axes hold most.
    """
    widths = torch.zeros(rows, size, dtype=torch.float64)
    start = 0
    for end, mean, contrast in WIDTHS:
        widths[0, start:end], widths[1:, start:end] = mean, contrast
        start = end
    return widths


def make_compact(visibility: Tensor, widths: Tensor, num_bits: int) -> CompactCode:
    """Give ``num_bits`` bits to where they lower the visible error most.

    Args:
        visibility: (rows, D), of ``training.compact.visibility``.
        widths: (rows, D), as ``photo_widths`` gives them.
        num_bits: in all.
    """
    worth = (visibility.double() * widths.square()).flatten().tolist()
    left = [_error(depth) for depth in range(MAX_DEPTH + 1)]
    depths = [0] * len(worth)
    gains = [(w * (left[1] - left[0]), i) for i, w in enumerate(worth)]
    heapq.heapify(gains)
    for _ in range(num_bits):
        _, i = heapq.heappop(gains)
        depths[i] += 1
        if depths[i] < MAX_DEPTH:
            gain = worth[i] * (left[depths[i] + 1] - left[depths[i]])
            heapq.heappush(gains, (gain, i))
    table = torch.tensor(depths, dtype=torch.uint8).view(visibility.shape)
    return CompactCode(table, widths, visibility)


@lru_cache(maxsize=MAX_DEPTH)
def _centres(depth: int) -> np.ndarray:
    """Mean of a standard normal in each of 2^depth equally likely slices."""
    edges = ndtri(np.arange(2**depth + 1) / 2**depth)
    density = np.exp(-(edges**2) / 2) / math.sqrt(2 * math.pi)
    return (density[:-1] - density[1:]) * 2**depth


def _error(depth: int) -> float:
    """Mean square error of a standard normal in ``depth`` bits."""
    return 1 - float(np.square(_centres(depth)).mean()) if depth else 1.0
