"""What training draws, and the first lesson of a mapper: copy a known shift.

A steered mapper has a part that is the same for everybody, a shift linear in the
password. It has every exact property, so a mapper that learns from its own
mistakes only, as the paper's must, gets a start from it where passwords matter
and d undoes e. The lesson is in code space and costs next to nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from facersa.mapper import Mapper, SteeredMapper
from facersa.rotation import WStatistics

AXES = 128  # leading principal axes of w in which training sees a code


def whitening(statistics: WStatistics, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean (512,) and matrix (512, AXES): (w - mean) @ matrix has unit variance."""
    axes = statistics.eigenvectors[:, :AXES] / statistics.eigenvalues[:AXES].sqrt()
    return statistics.mean.float().to(device), axes.float().to(device)


def fresh_codes(number: int, count: int, bits: int, rng: torch.Generator) -> Tensor:
    """Random password codes (number, count, bits) of -1/2 and 1/2."""
    return torch.randint(2, (number, count, bits), generator=rng) - 0.5


def altered_codes(code: Tensor, rng: torch.Generator) -> Tensor:
    """Other codes (B, N): one bit turned over, or, for half of them, any bits."""
    turned = torch.rand(code.shape, generator=rng)
    one = turned == turned.amin(1, keepdim=True)
    many = (turned < 0.5) | one
    single = torch.rand(len(code), 1, generator=rng) < 0.5
    return torch.where(torch.where(single, one, many).to(code.device), -code, code)


def imitation_loss(
    mapper: Mapper,
    teacher: SteeredMapper,
    ws: Tensor,
    axes: Tensor,
    rng: torch.Generator,
) -> Tensor:
    """Mean squared error of ``mapper`` against the teacher's mean shift, whitened.

    People (B, 16, 512) come plain or encrypted once, and codes are sums of none to
    three passwords, so that zero and sums are part of the lesson.
    """
    e = fresh_codes(4, len(ws), mapper.num_bits, rng).to(ws)
    before, now = (torch.randint(k, (1, len(ws), 1), generator=rng) for k in (3, 4))
    order = torch.arange(3)[:, None, None]
    code = (e[:3] * (order < now).to(e)).sum(0)
    with torch.no_grad():
        start = teacher.mean_shift(ws, e[3] * (before[0] > 0).to(e))
        want = teacher.mean_shift(start, code)
    gap = (mapper(start, code) - want)[:, list(mapper.layers)]
    return (gap @ axes).square().mean()
