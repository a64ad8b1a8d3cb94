"""What training draws, and the first lesson of a mapper: copy one that is exact.

A ring, or the part of a steered mapper that is the same for everybody, has every
exact property, so a mapper that learns from its own mistakes only, as the paper's
must, gets a start from it where passwords matter and d undoes e. The lesson is in
code space and costs next to nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facersa.cipher.catalogue import ExactMapper, Mapper
from facersa.training.chains import MOST, _sum_of_first, fresh_codes


def imitation_loss(
    mapper: Mapper,
    teacher: ExactMapper,
    ws: Tensor,
    axes: Tensor,
    rng: torch.Generator,
    *,
    own: bool = False,
    most: int = MOST,
) -> Tensor:
    """Mean squared error of ``mapper`` against the teacher's lesson, whitened.

    People (B, 16, 512) come plain or encrypted, by up to ``most`` passwords. Half of
    the codes are single passwords, the others sums of none to ``most``, and some undo
    all that was done, so that zero, sums and the way back are part of the lesson.

    Args:
        mapper: who learns.
        teacher: whom it copies.
        ws: people.
        axes: of ``whitening``.
        rng: of the passwords.
        own: who is encrypted already was so by the mapper itself, one password after
            the other, and the answer is what the teacher makes of the plain person:
            so it learns to correct its own errors, which a chain would add up.
        most: passwords of a sum at most.
    """
    count = len(ws)
    e = fresh_codes(2 * most, count, mapper.num_bits, rng).to(ws)
    done, now = torch.randint(most + 1, (2, count, 1), generator=rng).to(ws.device)
    single, undo = (torch.rand(2, count, 1, generator=rng) < 0.5).to(ws.device)
    before = _sum_of_first(e[:most], done)
    code = _sum_of_first(e[most:], torch.where(single, 1, now))
    code = torch.where(undo & ~single & (done > 0), -before, code)
    with torch.no_grad():
        want = teacher.lesson(ws, before + code)
        start = ws if own else teacher.lesson(ws, before)
        for k in range(most if own else 0):
            start = torch.where(done[..., None] > k, mapper(start, e[k]), start)
    gap = (mapper(start, code) - want)[:, list(mapper.layers)]
    return (gap @ axes).square().mean()
