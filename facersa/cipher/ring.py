"""A learned cipher that is exact: rotations in learned planes about a learned centre.

In learned planes every edited row turns by angles that are linear in the password,
about a centre away from where people are. Angles add, so properties (c), (f), (g) and
(h) hold exactly, as for ``RotationCipher``. Because the centre is far away, a turn
moves every person. A shift that is linear in the password goes farther out with each
password; on a circle no chain of passwords ends farther out than a diameter.

The cipher reads edited rows only and treats them alike, so the paper's network can
be trained to copy it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facersa.cipher.base import LearnedCipher
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
        radius: initial distance of the centre in each plane, in standard deviations
            of people.
        spread: initial standard deviation of the angle by which a password turns a
            plane, in radians. From about two on, a turn ends almost anywhere on the
            circle, and further passwords move nobody farther out.
        strength: factor on the learned distance of the centre. The exact properties
            hold for any value.
    """

    num_bits: int = 16
    layers: tuple[int, ...] = (5, 6, 7, 8)
    planes: int = 16
    axes: int = 128
    radius: float = 3.0
    spread: float = 2.8
    strength: float = 1.0


class RingMapper(LearnedCipher):
    """Turn each edited row in learned planes about a learned centre.

        t = least-squares coordinates of the whitened row in the planes - centre
        M(w, p) = (R(A p) t - t) along the planes

    Exact by construction: M(w, 0) = 0, and p after q does what p + q does.

    Args:
        config: sizes and rows.
        statistics: of w; those in the package where none are given.
    """

    name = "ring"
    exact = True
    mean: Tensor
    read: Tensor
    write: Tensor

    def __init__(
        self,
        config: RingConfig | None = None,
        statistics: WStatistics | None = None,
    ) -> None:
        config = RingConfig() if config is None else config
        super().__init__(config)
        if 2 * config.planes > config.axes:
            raise ValueError(
                f"{config.planes} planes need {2 * config.planes} axes, got "
                f"{config.axes}; use fewer planes or more axes."
            )
        self.register_axes(statistics, config.axes, torch.float64)
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
        """Start with planes in the span of whitened ``directions`` (2 planes, axes).

        The directions are mixed at random (``rng``), so that all planes do equally
        much.

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
        return self.turn(ws, code.double() @ self.angles.double())

    def turn(self, ws: Tensor, angles: Tensor) -> Tensor:
        """What turning the planes by angles (B, planes) adds to the edited rows."""
        planes = self.directions.double()
        t = self.coordinates(ws[:, list(self.layers)])
        x, y = t.unflatten(-1, self.centre.shape).unbind(-1)
        turn = angles[:, None]
        # cos - 1, so that the zero code changes no bit
        sine, less_cosine = turn.sin(), -2 * (turn / 2).sin().square()
        step = torch.stack(
            [less_cosine * x - sine * y, sine * x + less_cosine * y], dim=-1
        )
        return step.flatten(-2) @ planes @ self.write
