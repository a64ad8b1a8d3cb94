"""A mapper that is exact and goes round in circles: rotations about a learned centre.

In learned planes every edited row turns by angles that are linear in the password,
about a centre that lies aside of where people are. Angles add, so properties (c),
(f), (g) and (h) hold exactly, as for ``RotationCipher``; and since the centre is
aside, a turn takes every person away from where they were. A shift that is linear in
the password goes farther out with each one; on a circle no chain of passwords ends
farther out than a diameter.

It looks at edited rows only, treats them alike, and so the paper's network can learn
to copy it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from facersa.cipher.base import add_rows, check_code, check_layers, check_ws
from facersa.generator.statistics import WStatistics
from facersa.ops import check_shape


@dataclass(frozen=True)
class RingConfig:
    """What rebuilds a ``RingMapper``.

    Attributes:
        num_bits: length N of a password code.
        layers: edited rows, 0-based.
        planes: number of planes that turn.
        axes: leading principal axes of w in which the planes lie.
        radius: distance of the centre in each plane at the start of training, in
            standard deviations of people.
        spread: standard deviation at the start of the angle that a password turns a
            plane by, in radians. From about two on, a turn ends almost anywhere on the
            circle, and more passwords take nobody farther.
        strength: factor on that distance afterwards. All properties that are exact
            stay so, whatever it is.
    """

    num_bits: int = 16
    layers: tuple[int, ...] = (5, 6, 7, 8)
    planes: int = 16
    axes: int = 128
    radius: float = 3.0
    spread: float = field(default=2.8, repr=False)  # of no mark on what it does
    strength: float = 1.0


class RingMapper(nn.Module):
    """Turn each edited row in learned planes about a learned centre.

        t = least-squares coordinates of the whitened row in the planes - centre
        M(w, p) = (R(A p) t - t) along the planes

    Exact by construction: M(w, 0) = 0, and p after q does what p + q does.

    Args:
        config: sizes and rows.
        statistics: of w; those in the package where none are given.
    """

    mean: Tensor
    read: Tensor
    write: Tensor

    def __init__(
        self,
        config: RingConfig | None = None,
        statistics: WStatistics | None = None,
    ) -> None:
        super().__init__()
        config = RingConfig() if config is None else config
        check_layers(config.layers)
        if 2 * config.planes > config.axes:
            raise ValueError(
                f"{config.planes} planes need {2 * config.planes} axes, got "
                f"{config.axes}; use fewer planes or more axes."
            )
        self.config = config
        self.layers, self.num_bits = config.layers, config.num_bits
        stats = WStatistics.load() if statistics is None else statistics
        for name, value in {
            "mean": stats.mean,
            "read": stats.whitener(config.axes),
            "write": stats.colourer(config.axes),
        }.items():
            self.register_buffer(name, value, persistent=False)
        directions = torch.randn(2 * config.planes, config.axes)
        self.directions = nn.Parameter(directions / config.axes**0.5)
        aside = torch.rand(config.planes) * 2 * math.pi
        centre = torch.stack([aside.cos(), aside.sin()], dim=1) * config.radius
        self.centre = nn.Parameter(centre)
        angles = torch.randn(config.num_bits, config.planes)
        per_bit = config.spread * 2 / config.num_bits**0.5  # entries are -1/2 and 1/2
        self.angles = nn.Parameter(angles * per_bit)

    @torch.no_grad()
    def start_along(self, directions: Tensor, rng: torch.Generator) -> None:
        """Begin in the span of ``directions`` (2 planes, axes), whitened.

        They are mixed at random (``rng``), so that each plane does as much as the
        others.

        Raises:
            ValueError: another shape.
        """
        check_shape(directions, *self.directions.shape, name="directions")
        size = len(directions), len(directions)
        mixed, _ = torch.linalg.qr(torch.randn(size, generator=rng))
        self.directions.copy_(mixed.to(directions) @ directions)

    def coordinates(self, rows: Tensor) -> Tensor:
        """Rows (..., 512) to t (..., 2 planes), float64: x and y from each centre."""
        planes = self.directions.double()
        inverse = torch.linalg.inv(planes @ planes.T)
        centre = self.config.strength * self.centre.double().flatten()
        return (rows.double() - self.mean) @ self.read @ planes.T @ inverse - centre

    def change(self, ws: Tensor, code: Tensor) -> Tensor:
        """M(w, p): (B, rows of ``ws``, 512) and (B, N) to (B, edited rows, 512).

        In float64, so that a round trip differs by the rounding of ``ws`` only.
        """
        planes = self.directions.double()
        found = self.coordinates(ws[:, list(self.layers)])
        x, y = found.unflatten(-1, self.centre.shape).unbind(-1)
        turn = (code.double() @ self.angles.double())[:, None]
        # cos - 1, so that the zero code changes no bit
        sine, less_cosine = turn.sin(), -2 * (turn / 2).sin().square()
        step = torch.stack(
            [less_cosine * x - sine * y, sine * x + less_cosine * y], dim=-1
        )
        return step.flatten(-2) @ planes @ self.write

    def forward(self, ws: Tensor, code: Tensor) -> Tensor:
        """As ``ModulationMapper.forward``, with the same errors."""
        check_ws(ws, self.layers)
        change = self.change(ws, check_code(code, ws, self.num_bits))
        return add_rows(ws, self.layers, change)

    def lesson(self, ws: Tensor, code: Tensor) -> Tensor:
        """What a mapper that reads only edited rows can hope to copy: all of it."""
        return self(ws, code)
