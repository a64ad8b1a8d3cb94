"""Tests of the steered mapper, with random weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facersa.mapper import fingerprint
from facersa.password import Password
from facersa.rotation import WStatistics
from facersa.steered import SteeredConfig, SteeredMapper


@pytest.fixture
def ws() -> Tensor:
    stats = WStatistics.load()
    return stats.unwhiten(torch.randn(3, 16, 512)).float()


def codes(*seeds: int, num_bits: int = 16) -> Tensor:
    return torch.cat([Password.random(num_bits, seed=s).code for s in seeds])


def test_the_steered_mapper_is_a_group_action(ws: Tensor) -> None:
    """(c), (f), (g), (h), and nothing at zero, before any training."""
    mapper = SteeredMapper().double()
    ws = ws.double()
    e1, e2, e3 = (codes(s).double() for s in (1, 2, 3))
    once = mapper(ws, e1)
    assert torch.equal(mapper(ws, torch.zeros(1, 16)), ws)
    close = {"atol": 1e-12, "rtol": 0.0}
    torch.testing.assert_close(mapper(once, -e1), ws, **close)
    twice = mapper(once, e2)
    torch.testing.assert_close(twice, mapper(ws, e1 + e2), **close)
    torch.testing.assert_close(mapper(twice, -e1), mapper(ws, e2), **close)
    chain = mapper(mapper(twice, e3), -(e1 + e3))
    torch.testing.assert_close(chain, mapper(ws, e2), **close)


def test_the_steered_mapper_in_single_precision_is_exact_enough(ws: Tensor) -> None:
    mapper = SteeredMapper()
    back = mapper(mapper(ws, codes(1)), -codes(1))
    assert (back - ws).abs().max() < 1e-5


def test_strength_lengthens_every_shift_and_names_another_mapper(ws: Tensor) -> None:
    torch.manual_seed(0)
    one = SteeredMapper()
    two = SteeredMapper(SteeredConfig(strength=2.0))
    two.load_state_dict(one.state_dict())
    code = torch.randint(2, (len(ws), 16)) - 0.5
    torch.testing.assert_close(two.change(ws, code), 2 * one.change(ws, code))
    moved = [mapper.lesson(ws, code) - ws for mapper in (one, two)]
    torch.testing.assert_close(moved[1], 2 * moved[0], rtol=1e-4, atol=1e-5)
    assert fingerprint(one) != fingerprint(two)


def test_steering_depends_on_the_person_but_not_on_edited_rows(ws: Tensor) -> None:
    mapper = SteeredMapper()
    torch.nn.init.normal_(mapper.shifts.weight)
    directions = mapper.directions(ws)
    assert (directions[0] - directions[1]).abs().max() > 0.1
    other = ws.clone()
    other[:, 5:9] = torch.randn(3, 4, 512)
    assert torch.equal(mapper.directions(other), directions)
