"""The exact cipher for photographs: a rotation that keeps pose and look.

Also our own construction. It is the rotation (see ``rotation``) with two changes. All
edited rows turn alike: the rows of one person resemble each other, and so do those of
the person who comes out, while rows that turn each on its own make a face of six
people, which looks worn. And the turn leaves a few directions of w alone: those along
which the head turns, and those along which a face changes most between a man's and a
woman's, between young and old, between dark and light. They were measured once
(``training.directions``) and are public, as the angles are.

An encrypted face therefore fits the body and the hair that it sits among. What is kept
is kept: whoever sees the picture learns the pose, and mostly the apparent gender, the
age within some years, and how dark the skin is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from facersa.assets.registry import shipped_weights
from facersa.cipher.base import Settings
from facersa.cipher.rotation import DEFAULT_CONTEXT, RotationCipher
from facersa.generator.statistics import WStatistics

FILE = "steady.safetensors"
LAYERS = tuple(range(3, 11))
# How far to push: more than the rotation does, since what is kept resembles. README
# says what each hides and costs.
PUSHES = {"gentle": 0.15, "usual": 0.3, "strong": 0.45}
KAPPA = PUSHES["usual"]
KEPT = 6  # directions that stay; 4 in files of before, which know neither age nor skin


class SteadyCipher(RotationCipher):
    """``cipher(ws, code) -> ws``; arguments as for ``RotationCipher``, and ``kept``.

    The kept directions are those of the shipped generator. For statistics of another
    one, none are known, and the rows turn alike in all directions.

    Args:
        kept: number of directions that stay: 6, or 4 as in older files.
    """

    name = "steady"

    def __init__(
        self,
        statistics: WStatistics | None = None,
        *,
        layers: Sequence[int] = LAYERS,
        num_bits: int = 128,
        kappa: float = KAPPA,
        context: int = DEFAULT_CONTEXT,
        kept: int = KEPT,
    ) -> None:
        super().__init__(
            statistics, layers=layers, num_bits=num_bits, kappa=kappa, context=context
        )
        self.kept, directions = kept, kept_directions(kept)
        shipped = WStatistics.load()
        stats = shipped if statistics is None else statistics
        table = self.table.unflatten(1, (len(self.layers), -1))
        table = table[:, :1].expand_as(table).clone()
        if torch.equal(stats.mean, shipped.mean):
            basis = complete_basis(directions)
            self.whitener = self.whitener @ basis
            self.colourer = basis.T @ self.colourer
            table[..., : kept // 2] = 0  # these planes never turn
        self.table = table.flatten(1)

    @property
    def settings(self) -> Settings:
        """All that a file has to say: there are no weights."""
        return {**super().settings, "kept": self.kept}


def kept_directions(number: int = KEPT) -> Tensor:
    """The shipped directions in whitened coordinates, (512, ``number``).

    Raises:
        ValueError: there are no such ones.
    """
    shipped = shipped_weights(FILE)
    if f"kept_{number}" not in shipped:
        raise ValueError(f"the cipher keeps 4 or 6 directions, got {number}.")
    return shipped[f"kept_{number}"].double()


def complete_basis(directions: Tensor) -> Tensor:
    """An orthogonal matrix (D, D) whose first columns are ``directions`` (D, k).

    A product of k Householder reflections, written out: a library's would leave the
    signs of the columns to its version, and with them the sense of every turn. The
    other columns stay near the principal axes that they stand for.
    """
    basis = torch.eye(len(directions), dtype=torch.float64)
    for index, direction in enumerate(directions.double().T):
        mirror = basis.T @ direction
        mirror[index] -= 1
        if (length := mirror.square().sum()) > 0:
            basis -= torch.outer(basis @ mirror, mirror) * (2 / length)
    return basis
