"""A mapper that is exact by construction: a shift steered by unedited rows.

It keeps the form of the paper's but looks only at rows that it does not edit. They
are the same before and after, so M(w, p) is a shift that depends on the person and
the password and on nothing the cipher changes: shifts commute, and where M is linear
in p they add up. Properties (c), (f), (g) and (h) then hold exactly, with no training;
what remains to be learned is which shift.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facersa.cipher.base import SLOPE, add_rows, check_code, check_layers, check_ws
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
        strength: factor on M. All properties that are exact stay so, whatever it is;
            it trades likeness for how far the face moves.
    """

    num_bits: int = 16
    layers: tuple[int, ...] = (5, 6, 7, 8)
    context: tuple[int, ...] = (4, 9)
    axes: int = 32
    width: int = 192
    strength: float = 1.0


class SteeredMapper(nn.Module):
    """A shift that is linear in the password and steered by unedited rows.

        M(w, p) = strength * sum_i p_i B_i(context rows of w)

    B is a small network, in whitened principal coordinates of w. Exact by
    construction: M(w, 0) = 0, M(w', p) = M(w, p) for every w' the cipher makes
    of w, and M(w, p + q) = M(w, p) + M(w, q).

    Args:
        config: sizes and rows.
        statistics: of w; those in the package where none are given.
    """

    mean: Tensor
    read: Tensor
    write: Tensor

    def __init__(
        self,
        config: SteeredConfig | None = None,
        statistics: WStatistics | None = None,
    ) -> None:
        super().__init__()
        config = SteeredConfig() if config is None else config
        check_layers(config.layers, config.context)
        self.config = config
        self.layers, self.num_bits = config.layers, config.num_bits
        stats = WStatistics.load() if statistics is None else statistics
        for name, value in {
            "mean": stats.mean,
            "read": stats.whitener(config.axes),
            "write": stats.colourer(config.axes),
        }.items():
            self.register_buffer(name, value.float(), persistent=False)
        self.trunk = nn.Sequential(
            nn.Linear(len(config.context) * config.axes, config.width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(config.width, config.width),
            nn.LeakyReLU(SLOPE),
        )
        shifts = config.num_bits * len(config.layers) * config.axes
        self.shifts = nn.Linear(config.width, shifts)
        # To begin with, a random shift that all rows share, about as long as that
        # from one person to another: rows that agree make the better faces.
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

    def lesson(self, ws: Tensor, code: Tensor) -> Tensor:
        """What a mapper that reads only edited rows can hope to copy, (B, rows, 512).

        ``ws`` edited by the shift that is the same for everybody.
        """
        directions = self.shifts.bias.view(self.num_bits, len(self.layers), -1)
        moved = torch.einsum("bn,nra->bra", code, directions)
        return add_rows(ws, self.layers, self.config.strength * moved @ self.write)

    def forward(self, ws: Tensor, code: Tensor) -> Tensor:
        """As ``ModulationMapper.forward``, with the same errors."""
        check_ws(ws, (*self.layers, *self.config.context))
        change = self.change(ws, check_code(code, ws, self.num_bits))
        return add_rows(ws, self.layers, change)
