"""What training draws, and the first lesson of a mapper: copy one that is exact.

A ring, or the part of a steered mapper that is the same for everybody, has every
exact property, so a mapper that learns from its own mistakes only, as the paper's
must, gets a start from it where passwords matter and d undoes e. The lesson is in
code space and costs next to nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facersa.mapper import ExactMapper, Mapper
from facersa.rotation import WStatistics

AXES = 512  # principal axes of w in which training sees a code: all there are
MOST = 4  # passwords of a sum, unless told otherwise


def whitening(statistics: WStatistics, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean (512,) and matrix (512, AXES): (w - mean) @ matrix has unit variance.

    Also the axes along which people hardly differ count: steps along them change a
    picture too, and what training does not see it does not hold back.
    """
    axes = statistics.whitener(AXES)
    return statistics.mean.float().to(device), axes.float().to(device)


def fresh_codes(number: int, count: int, bits: int, rng: torch.Generator) -> Tensor:
    """Random password codes (number, count, bits) of -1/2 and 1/2."""
    return torch.randint(2, (number, count, bits), generator=rng) - 0.5


def summed_codes(count: int, bits: int, rng: torch.Generator) -> Tensor:
    """Codes (count, N) of which half are passwords, half sums of none to four."""
    drawn = fresh_codes(MOST, count, bits, rng)
    number = torch.randint(MOST + 1, (count, 1), generator=rng)
    single = torch.rand(count, 1, generator=rng) < 0.5
    return _sum_of_first(drawn, torch.where(single, 1, number))


def _sum_of_first(codes: Tensor, number: Tensor) -> Tensor:
    """Codes (k, B, N) to the sum of the first ``number`` (B, 1) of each."""
    order = torch.arange(len(codes), device=codes.device)[:, None, None]
    return (codes * (order < number)).sum(0)


def altered_codes(code: Tensor, rng: torch.Generator) -> Tensor:
    """Other codes (B, N): one bit turned over, or, for half of them, any bits."""
    turned = torch.rand(code.shape, generator=rng)
    one = turned == turned.amin(1, keepdim=True)
    many = (turned < 0.5) | one
    single = torch.rand(len(code), 1, generator=rng) < 0.5
    return torch.where(torch.where(single, one, many).to(code.device), -code, code)


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
