"""Tests of the passwords that training draws, and of distillation."""

from __future__ import annotations

import torch

from facersa.cipher.modulation import ModulationMapper
from facersa.cipher.ring import RingMapper
from facersa.cipher.steered import SteeredMapper
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics, whitening
from facersa.training.chains import altered_codes, fresh_codes, summed_codes
from facersa.training.distillation import distillation_loss


def test_fresh_codes_are_bits() -> None:
    rng = torch.Generator().manual_seed(0)
    codes = fresh_codes(3, 200, 16, rng)
    assert codes.shape == (3, 200, 16)
    assert codes.abs().unique().tolist() == [0.5] and abs(codes.mean()) < 0.02


def test_half_of_the_sums_are_passwords() -> None:
    codes = summed_codes(2000, 16, torch.Generator().manual_seed(0))
    assert codes.shape == (2000, 16) and codes.abs().max() == 2  # a sum of four
    single = (codes.abs() == 0.5).all(1).float().mean()
    assert 0.55 < single < 0.65  # a half, and a fifth of the other half
    zero = (codes == 0).all(1).float().mean()
    assert 0.07 < zero < 0.13


def test_wrong_passwords_always_differ() -> None:
    rng = torch.Generator().manual_seed(0)
    code = fresh_codes(1, 500, 16, rng)[0]
    flipped = (altered_codes(code, rng) != code).sum(1)
    assert flipped.min() == 1
    assert 0.4 < (flipped == 1).float().mean() < 0.7
    assert flipped.max() > 5


def test_whitened_codes_have_unit_variance(generator: Generator) -> None:
    mean, axes = whitening(WStatistics.load(), torch.device("cpu"))
    w = generator.sample(range(2000), 1.0)[:, 0]
    torch.testing.assert_close(
        ((w - mean) @ axes).std(0), torch.ones(512), atol=0.15, rtol=0
    )


def test_the_teacher_itself_makes_no_error(generator: Generator) -> None:
    """And a mapper that changes nothing errs by the length of the shift."""
    torch.manual_seed(0)
    teacher = SteeredMapper().requires_grad_(False)
    teacher.shifts.weight.zero_()  # now it is the same for everybody
    _, axes = whitening(WStatistics.load(), torch.device("cpu"))
    ws = generator.sample(range(16), 0.85)

    def loss(mapper: SteeredMapper | ModulationMapper) -> float:
        rng = torch.Generator().manual_seed(1)
        return float(distillation_loss(mapper, teacher, ws, axes, rng))

    assert loss(teacher) < 1e-8
    idle = SteeredMapper().requires_grad_(False)
    idle.shifts.weight.zero_()
    idle.shifts.bias.zero_()
    assert loss(idle) > 0.05


def test_own_codes_are_corrected_towards_the_plain_person(
    generator: Generator,
) -> None:
    torch.manual_seed(0)
    teacher = RingMapper().requires_grad_(False)
    _, axes = whitening(WStatistics.load(), torch.device("cpu"))
    ws = generator.sample(range(16), 0.85)

    def loss(mapper: RingMapper, own: bool) -> float:
        rng = torch.Generator().manual_seed(1)
        return float(distillation_loss(mapper, teacher, ws, axes, rng, own=own))

    assert loss(teacher, own=True) < 1e-8  # exact: its own codes are the targets
    late = RingMapper().requires_grad_(False)
    late.load_state_dict(teacher.state_dict())
    late.angles *= 0.9  # turns too little, each time
    assert loss(late, own=True) > 1.5 * loss(late, own=False) > 0


def test_longer_sums_are_learnt_on_request(generator: Generator) -> None:
    """A student that is right up to sums of four and wrong beyond them."""
    torch.manual_seed(0)
    teacher = RingMapper().requires_grad_(False)
    _, axes = whitening(WStatistics.load(), torch.device("cpu"))
    ws = generator.sample(range(64), 0.85)

    class Bounded(RingMapper):
        """Takes a code for one within the bounds of a sum of four."""

        def forward(self, ws: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
            return super().forward(ws, code.clamp(-2, 2))

    student = Bounded().requires_grad_(False)
    student.load_state_dict(teacher.state_dict())

    def loss(most: int) -> float:
        rng = torch.Generator().manual_seed(1)
        return float(distillation_loss(student, teacher, ws, axes, rng, most=most))

    assert loss(4) < 1e-8 < 1e-3 < loss(12)
