"""A learned cipher that is exact: a shift steered by rows that it does not edit.

The network has inputs and outputs like the paper's but reads only rows that it does
not edit. These are the same before and after encryption, so M(w, p) is a shift that
depends on the person and the password and on nothing that the cipher changes. Shifts
commute, and where M is linear in p they add up: properties (c), (f), (g) and (h) hold
exactly, without training. Training only finds which shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facersa.cipher.base import SLOPE, LearnedCipher, add_rows
from facersa.generator.statistics import WStatistics


@dataclass(frozen=True)
class SteeredConfig:
    """What rebuilds a ``SteeredMapper``.

    Attributes:
        num_bits: length N of a password code.
        layers: edited rows, 0-based.
        context: rows that steer; none of them is edited.
        axes: leading principal axes of w that are read and written, per row.
        width: of the hidden layer.
        strength: factor on M. It trades likeness against distance; the exact
            properties hold for any value.
    """

    num_bits: int = 16
    layers: tuple[int, ...] = (5, 6, 7, 8)
    context: tuple[int, ...] = (4, 9)
    axes: int = 32
    width: int = 192
    strength: float = 1.0


class SteeredMapper(LearnedCipher):
    """A shift that is linear in the password and steered by unedited rows.

        M(w, p) = strength * sum_i p_i B_i(context rows of w)

    B is a small network, in whitened principal coordinates of w. Exact by
    construction: M(w, 0) = 0, M(w', p) = M(w, p) for every w' the cipher makes
    of w, and M(w, p + q) = M(w, p) + M(w, q).

    Args:
        config: sizes and rows.
        statistics: of w; those in the package where none are given.
    """

    name = "steered"
    exact = True
    mean: Tensor
    read: Tensor
    write: Tensor

    def __init__(
        self,
        config: SteeredConfig | None = None,
        statistics: WStatistics | None = None,
    ) -> None:
        config = SteeredConfig() if config is None else config
        super().__init__(config)
        self.register_axes(statistics, config.axes, torch.float32)
        self.trunk = nn.Sequential(
            nn.Linear(len(config.context) * config.axes, config.width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(config.width, config.width),
            nn.LeakyReLU(SLOPE),
        )
        shifts = config.num_bits * len(config.layers) * config.axes
        self.shifts = nn.Linear(config.width, shifts)
        # Initially a random shift that all rows share, about as long as the one from
        # one person to another: rows that agree give better faces.
        start = torch.randn(config.num_bits, 1, config.axes)
        start = (start * 2.4 / config.num_bits**0.5).expand(-1, len(config.layers), -1)
        with torch.no_grad():
            self.shifts.bias.copy_(start.flatten())

    def directions(self, ws: Tensor) -> Tensor:
        """B: what one unit of each password entry adds, (B, N, edited rows, axes)."""
        context = (ws[:, list(self.config.context)] - self.mean) @ self.read
        # Divided, so that a step of Adam moves both parts of B about as far.
        hidden = self.trunk(context.flatten(1)) / self.config.width**0.5
        shifts = self.shifts(hidden)
        return shifts.view(len(ws), self.num_bits, len(self.layers), -1)

    def change(self, ws: Tensor, code: Tensor) -> Tensor:
        """M(w, p), its strength included: (B, edited rows, 512)."""
        moved = torch.einsum("bn,bnra->bra", code, self.directions(ws))
        return self.config.strength * moved @ self.write

    def without_context(self, ws: Tensor, code: Tensor) -> Tensor:
        """``ws`` (B, rows, 512) edited by the shift that is the same for everybody."""
        directions = self.shifts.bias.view(self.num_bits, len(self.layers), -1)
        moved = torch.einsum("bn,nra->bra", code, directions)
        return add_rows(ws, self.layers, self.config.strength * moved @ self.write)
