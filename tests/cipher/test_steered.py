"""Tests of the steered mapper, with random weights."""

from __future__ import annotations

import torch
from torch import Tensor

from facersa.cipher.description import fingerprint
from facersa.cipher.password import Password
from facersa.cipher.steered import SteeredConfig, SteeredMapper


def codes(*seeds: int, num_bits: int = 16) -> Tensor:
    return torch.cat([Password.random(num_bits, seed=s).code for s in seeds])


def test_strength_lengthens_every_shift_and_names_another_mapper(
    any_ws: Tensor,
) -> None:
    torch.manual_seed(0)
    one = SteeredMapper()
    two = SteeredMapper(SteeredConfig(strength=2.0))
    two.load_state_dict(one.state_dict())
    code = torch.randint(2, (len(any_ws), 16)) - 0.5
    torch.testing.assert_close(two.change(any_ws, code), 2 * one.change(any_ws, code))
    moved = [mapper.without_context(any_ws, code) - any_ws for mapper in (one, two)]
    torch.testing.assert_close(moved[1], 2 * moved[0], rtol=1e-4, atol=1e-5)
    assert fingerprint(one) != fingerprint(two)


def test_steering_depends_on_the_person_but_not_on_edited_rows(any_ws: Tensor) -> None:
    mapper = SteeredMapper()
    torch.nn.init.normal_(mapper.shifts.weight)
    directions = mapper.directions(any_ws)
    assert (directions[0] - directions[1]).abs().max() > 0.1
    other = any_ws.clone()
    other[:, 5:9] = torch.randn(3, 4, 512)
    assert torch.equal(mapper.directions(other), directions)
