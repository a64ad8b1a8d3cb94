"""Knowledge distillation: a mapper first learns from one that is exact.

A ring, or the part of a steered mapper that is the same for everybody, has every exact
property. A student that starts from random weights must discover them by its own
errors; one that was distilled starts where passwords matter and d undoes e. The loss
compares codes, not pictures, and costs next to nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facersa.cipher.base import LearnedCipher
from facersa.training.chains import MOST, fresh_codes, sum_of_first


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
