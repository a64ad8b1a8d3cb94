"""Tests of the paper's network that becomes a ring."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch.nn.functional import leaky_relu

from facersa.cipher.base import SLOPE
from facersa.cipher.catalogue import load_learned
from facersa.cipher.modulation import MapperConfig, Modulation, ModulationMapper
from facersa.cipher.ring import RingConfig, RingMapper
from facersa.generator.base import Generator
from facersa.training.assembly import FORM, _bend, _write, become_ring, pieces, zigzag
from facersa.training.chains import fresh_codes, summed_codes


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def a_ring(bits: int = 16, planes: int = 16) -> RingMapper:
    torch.manual_seed(0)
    config = RingConfig(num_bits=bits, planes=planes, strength=0.8)
    return RingMapper(config).requires_grad_(False)


def assembled(ring: RingMapper, generator: Generator) -> ModulationMapper:
    people = generator.sample(range(300), 0.85)
    mapper = ModulationMapper(replace(FORM, num_bits=ring.num_bits))
    become_ring(mapper, ring, people, seeded())
    return mapper.requires_grad_(False)


@pytest.mark.parametrize(("bits", "planes"), [(16, 16), (7, 3), (16, 20)])
def test_it_does_what_the_ring_does(
    bits: int, planes: int, generator: Generator
) -> None:
    """To people never seen, by passwords, sums of such, and none; and it undoes it."""
    ring = a_ring(bits, planes)
    mapper = assembled(ring, generator)
    unseen = generator.sample(range(1000, 1064), 0.85)
    e = fresh_codes(32, 64, bits, seeded())
    way = float((ring(unseen, e[0]) - unseen).norm())

    def missed(code: torch.Tensor, target: torch.Tensor) -> float:
        return float((code - target).norm()) / way

    once = mapper(unseen, e[0])
    assert missed(once, ring(unseen, e[0])) < 0.01
    assert missed(mapper(once, -e[0]), unseen) < 0.01
    assert missed(mapper(unseen, 0 * e[0]), unseen) < 0.005
    for number in (2, 4, 16, 32):
        code = e[:number].sum(0)
        assert missed(mapper(unseen, code), ring(unseen, code)) < 0.02
    assert torch.equal(once[:, :5], unseen[:, :5])
    # Halves for the matrices, as a file holds them, cost little.
    state = {
        k: v.half().float() if v.ndim > 1 else v for k, v in mapper.state_dict().items()
    }
    mapper.load_state_dict(state)
    assert missed(mapper(unseen, e[0]), ring(unseen, e[0])) < 0.02


def test_the_shipped_one_does_what_the_shipped_ring_does(generator: Generator) -> None:
    ring, mapper = load_learned("ring"), load_learned("assembled")
    unseen = generator.sample(range(1000, 1064), 0.85)
    e = fresh_codes(16, 64, 16, seeded())
    way = (ring(unseen, e[0]) - unseen).norm()
    for number, most in ((1, 0.004), (2, 0.004), (4, 0.004), (16, 0.006)):
        code = e[:number].sum(0)
        assert (mapper(unseen, code) - ring(unseen, code)).norm() < most * way
    assert (mapper(mapper(unseen, e[0]), -e[0]) - unseen).norm() < 0.005 * way


def test_a_pixel_norm_would_forget_how_long_a_row_is(generator: Generator) -> None:
    """Two people whose rows differ in length only: with the norm, one and the same."""
    ws = generator.sample(range(4), 0.85)
    code = fresh_codes(1, 4, 16, seeded())[0]
    normed = ModulationMapper(MapperConfig(odd=False)).requires_grad_(False)
    same = normed.change(2 * ws, code)
    torch.testing.assert_close(same, normed.change(ws, code), rtol=1e-4, atol=1e-4)
    mapper = assembled(a_ring(), generator)
    longer, change = mapper.change(2 * ws, code), mapper.change(ws, code)
    assert (longer - change).norm() > 0.4 * change.norm()


@pytest.mark.parametrize(("planes", "half_turns"), [(16, 56), (20, 40)])
def test_angles_are_known_as_far_as_the_docstring_says(
    planes: int, half_turns: int
) -> None:
    ring = a_ring(planes=planes)
    ring.angles.zero_()
    ring.angles[0] = 1.0
    mapper = ModulationMapper(FORM).requires_grad_(False)
    _bend(mapper, ring, summed_codes(256, 16, seeded()))
    code = torch.zeros(2001, 16)
    code[:, 0] = torch.linspace(-0.98, 0.98, 2001) * half_turns * math.pi
    turn = code[:, :1]
    target = torch.cat([turn.cos() - 1, turn.sin()], dim=1)
    second = mapper.modules_[1]
    assert isinstance(second, Modulation)
    found = second.gamma(mapper.converter(code)).unflatten(1, (-1, 2))
    for which in (0, planes - 1):  # the same angle in every plane
        gap = found[:, [which, planes + which]] - target[..., None]
        assert gap.abs().max() < 0.1


@pytest.mark.parametrize("knots", [12, 16, 17, 85])
def test_folds_run_to_and_fro_between_nothing_and_pi(knots: int) -> None:
    folds, weights, bias = zigzag(knots)
    reach = (knots - 1) // 2 * math.pi
    angle = torch.linspace(-reach, reach, 1001, dtype=torch.float64)
    found = leaky_relu(angle[:, None] - folds, SLOPE) @ weights + bias
    torch.testing.assert_close(found, angle.cos().acos(), rtol=0, atol=0.05)
    assert torch.equal(weights, weights.half().double())
    near = angle.abs() < 2 * math.pi
    torch.testing.assert_close(found[near], angle.cos().acos()[near], rtol=0, atol=0.01)


def test_pieces_meet_a_curve_at_their_knots() -> None:
    x = torch.linspace(0, 2, 400, dtype=torch.float64)
    weights, bias = pieces(x, torch.linspace(0, 1.9, 20, dtype=torch.float64), x**3)
    found = leaky_relu(x[:, None] - torch.linspace(0, 1.9, 20), SLOPE) @ weights + bias
    torch.testing.assert_close(found, x**3, rtol=0, atol=0.02)


@pytest.mark.parametrize(("bits", "planes"), [(16, 16), (7, 3), (16, 20)])
def test_converter_and_gamma_draw_cosines_and_sines(bits: int, planes: int) -> None:
    """For sums of passwords too: half of those below are sums, and all are tripled."""
    ring = a_ring(bits, planes)
    mapper = ModulationMapper(replace(FORM, num_bits=bits)).requires_grad_(False)
    _bend(mapper, ring, summed_codes(256, bits, seeded()))
    code = 3 * summed_codes(1000, bits, torch.Generator().manual_seed(1))
    turn = code @ ring.angles
    target = torch.cat([turn.cos() - 1, turn.sin()], dim=1)
    second = mapper.modules_[1]
    assert isinstance(second, Modulation)
    found = second.gamma(mapper.converter(code))[:, : 4 * planes].unflatten(1, (-1, 2))
    gap = found - target[..., None]
    assert gap.square().mean() < 1e-4 * target.square().mean()


def test_the_third_module_writes_what_a_ring_steps(any_ws: torch.Tensor) -> None:
    """From products that are right it makes steps that are, large or small."""
    ring = a_ring()
    mapper = ModulationMapper(FORM).requires_grad_(False)
    _write(mapper, ring, scale=3.0)
    third = mapper.modules_[2]
    assert isinstance(third, Modulation)
    pairs = ring.coordinates(any_ws[:, 5:9]).float().unflatten(-1, (-1, 2)) / 3
    across = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1)
    for share in (1.0, 0.1):
        code = share * fresh_codes(1, len(any_ws), 16, seeded())[0]
        angle = (code @ ring.angles)[:, None, :, None]
        products = torch.cat(
            [
                ((angle.cos() - 1) * pairs).flatten(-2),
                (angle.sin() * across).flatten(-2),
            ],
            dim=-1,
        )
        hidden = torch.zeros(len(any_ws), 4, 512)
        hidden[..., :128] = leaky_relu(torch.cat([products, -products], -1), SLOPE)
        found = mapper.config.strength * third(hidden, mapper.converter(code))
        want = ring.change(any_ws, code).float()
        assert (found - want).norm() < 0.03 * want.norm()


def test_the_same_seed_becomes_the_same(generator: Generator) -> None:
    ring, found = a_ring(), []
    for seed in range(2):
        torch.manual_seed(seed)  # whatever the weights were before
        found.append(assembled(ring, generator).state_dict())
    code = fresh_codes(1, 8, 16, seeded())[0]
    ws = generator.sample(range(8), 0.85)
    changed = []
    for state in found:
        mapper = ModulationMapper(FORM).requires_grad_(False)
        mapper.load_state_dict(state)
        assert all(torch.isfinite(value).all() for value in state.values())
        changed.append(mapper(ws, code))
    torch.testing.assert_close(changed[0], changed[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        MapperConfig(),
        MapperConfig(odd=False),
        replace(FORM, modules=2),
        replace(FORM, one_plus=True),
        replace(FORM, last_activation=True),
        replace(FORM, layers=(5, 6)),
        replace(FORM, num_bits=8),
        replace(FORM, norm="rows"),
    ],
)
def test_only_a_form_that_can_becomes_a_ring(
    config: MapperConfig, generator: Generator
) -> None:
    people = generator.sample([0], 0.85)
    with pytest.raises(ValueError, match="become a ring"):
        become_ring(ModulationMapper(config), RingMapper(), people, seeded())


@pytest.mark.parametrize(("planes", "axes"), [(21, 128), (16, 33)])
def test_too_many_planes_or_too_few_axes_are_refused(
    planes: int, axes: int, generator: Generator
) -> None:
    ring = RingMapper(RingConfig(planes=planes, axes=axes))
    people = generator.sample([0], 0.85)
    with pytest.raises(ValueError, match="at most 20 planes and four axes"):
        become_ring(ModulationMapper(FORM), ring, people, seeded())
