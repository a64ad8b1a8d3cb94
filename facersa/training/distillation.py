"""Knowledge distillation: a mapper first learns from one that is exact.

A ring, or the part of a steered mapper that is the same for everybody, has every exact
property. A student that starts from random weights must discover them by its own
errors; one that was distilled starts where passwords matter and d undoes e. The loss
compares codes, not pictures, and costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facersa.cipher.base import LearnedCipher
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics, whitening
from facersa.people import training_people
from facersa.training.chains import MOST, fresh_codes, sum_of_first
from facersa.training.loop import TrainConfig, stored


def distillation_loss(
    student: LearnedCipher,
    teacher: LearnedCipher,
    ws: Tensor,
    axes: Tensor,
    rng: torch.Generator,
    *,
    own: bool = False,
    most: int = MOST,
) -> Tensor:
    """Mean squared error of the student's codes against the teacher's, whitened.

    Half of the passwords are single ones, the others sums of none to ``most``, of
    which some undo all passwords before: the zero code, sums and decryption are learnt
    along.

    Args:
        student: the mapper that learns.
        teacher: an exact mapper.
        ws: people (B, rows, 512); most are encrypted with up to ``most`` passwords
            first.
        axes: (512, A) of ``whitening``.
        rng: of the passwords.
        own: let the student encrypt these people, one password after the other; the
            target stays the teacher's code of the plain person. So the student learns
            to correct its own errors, which a chain would add up.
        most: passwords of the longest sum.
    """
    count = len(ws)
    e = fresh_codes(2 * most, count, student.num_bits, rng).to(ws)
    done, now = torch.randint(most + 1, (2, count, 1), generator=rng).to(ws.device)
    single, undo = (torch.rand(2, count, 1, generator=rng) < 0.5).to(ws.device)
    before = sum_of_first(e[:most], done)
    code = sum_of_first(e[most:], torch.where(single, 1, now))
    code = torch.where(undo & ~single & (done > 0), -before, code)
    with torch.no_grad():
        target = teacher.without_context(ws, before + code)
        start = ws if own else teacher.without_context(ws, before)
        for k in range(most if own else 0):
            start = torch.where(done[..., None] > k, student(start, e[k]), start)
    error = (student(start, code) - target)[:, list(student.layers)]
    return (error @ axes).square().mean()


class Copying:
    """A ``training.loop.Task``: distil a teacher into a network of the paper's form."""

    name = "copying"

    def __init__(
        self, mapper: LearnedCipher, generator: Generator, teacher: LearnedCipher
    ) -> None:
        self.module: nn.Module = mapper
        self.settings: Mapping[str, Any] = {}
        self.mapper, self.generator, self.teacher = mapper, generator, teacher
        _, self.axes = whitening(WStatistics.load(), generator.w_avg.device)

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Draw the people."""
        self.config = config
        self.people = training_people(self.generator, config.pool, config.seed)

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Of a batch."""
        picked = torch.randint(len(self.people), (self.config.batch,), generator=rng)
        ws = self.people[picked.to(self.people.device)]
        return distillation_loss(self.mapper, self.teacher, ws, self.axes, rng), {}

    def measure(self) -> dict[str, float]:
        """Nothing: whoever copies measures by the teacher."""
        return {}

    def shipped(self) -> dict[str, Tensor]:
        """The student."""
        return stored(self.module)
