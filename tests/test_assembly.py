"""Tests of the paper's network that begins as a ring."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import leaky_relu

from facersa.assembly import _bend, _write, begin_as_ring
from facersa.edits import SLOPE
from facersa.generator import Generator
from facersa.imitation import fresh_codes, summed_codes
from facersa.mapper import (
    MapperConfig,
    Modulation,
    ModulationMapper,
    RingConfig,
    RingMapper,
)


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_it_begins_near_the_ring(generator: Generator) -> None:
    """Also where a password hardly turns: a layer norm alone forgets how far."""
    torch.manual_seed(0)
    ring = RingMapper(RingConfig(num_bits=4, planes=4)).requires_grad_(False)
    people = generator.sample(range(300), 0.85)
    mapper = ModulationMapper(MapperConfig(num_bits=4, odd=False))
    begin_as_ring(mapper, ring, people, seeded(), steps=250, batch=64)

    unseen = generator.sample(range(1000, 1064), 0.85)
    code = fresh_codes(1, 64, 4, seeded())[0]

    def missed(code: torch.Tensor) -> tuple[float, float]:
        with torch.no_grad():
            want = ring(unseen, code) - unseen
            gap = mapper(unseen, code) - unseen - want
        return float(gap.norm()), float(want.norm())

    gap, way = missed(code)
    assert gap < 0.4 * way
    gap_at_zero, _ = missed(0 * code)
    assert gap_at_zero < 0.1 * way
    assert torch.equal(mapper(unseen, code)[:, :5], unseen[:, :5])


@pytest.mark.parametrize(("bits", "planes"), [(16, 16), (7, 3), (16, 20)])
def test_converter_and_gamma_begin_with_cosines_and_sines(
    bits: int, planes: int
) -> None:
    """For sums of passwords too: half of those below are sums."""
    torch.manual_seed(0)
    ring = RingMapper(RingConfig(num_bits=bits, planes=planes)).requires_grad_(False)
    config = MapperConfig(num_bits=bits, odd=False)
    mapper = ModulationMapper(config).requires_grad_(False)
    _bend(mapper, ring, summed_codes(5000, bits, seeded()))
    code = summed_codes(1000, bits, torch.Generator().manual_seed(1))
    v, size = mapper.converter(code), 2 * planes
    turn = code @ ring.angles
    wanted = torch.cat([turn.cos() - 1, turn.sin()], dim=1)
    by_converter = (v[:, :size] - v[:, size : 2 * size]) / (1 + SLOPE)
    second = mapper.modules_[1]
    assert isinstance(second, Modulation)
    by_gamma = second.gamma(v)[:, : 2 * size].unflatten(1, (-1, 2))
    power = wanted.square().mean()
    assert (by_converter - wanted).square().mean() < 0.03 * power
    assert (by_gamma - wanted[..., None]).square().mean() < 0.03 * power


def test_the_third_module_writes_what_a_ring_steps(any_ws: torch.Tensor) -> None:
    """From products that are right it makes steps that are, large or small."""
    torch.manual_seed(0)
    ring = RingMapper().requires_grad_(False)
    mapper = ModulationMapper(MapperConfig(odd=False)).requires_grad_(False)
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
        assert (found - want).norm() < 0.1 * want.norm()


def test_the_same_seed_begins_alike(generator: Generator) -> None:
    torch.manual_seed(0)
    ring = RingMapper().requires_grad_(False)
    people = generator.sample(range(8), 0.85)
    found = []
    for _ in range(2):
        torch.manual_seed(1)
        mapper = ModulationMapper(MapperConfig(odd=False))
        begin_as_ring(mapper, ring, people, seeded(), steps=2, batch=4)
        found.append(mapper.state_dict())
    assert all(torch.equal(value, found[1][name]) for name, value in found[0].items())
    assert all(torch.isfinite(value).all() for value in found[0].values())


@pytest.mark.parametrize(
    "config",
    [
        MapperConfig(),
        MapperConfig(odd=False, modules=2),
        MapperConfig(odd=False, one_plus=True),
        MapperConfig(odd=False, last_activation=True),
        MapperConfig(odd=False, layers=(5, 6)),
        MapperConfig(odd=False, num_bits=8),
        MapperConfig(odd=False, norm="rows"),
    ],
)
def test_only_a_form_that_can_begins(
    config: MapperConfig, generator: Generator
) -> None:
    people = generator.sample([0], 0.85)
    with pytest.raises(ValueError, match="begin as a ring"):
        begin_as_ring(ModulationMapper(config), RingMapper(), people, seeded(), 1)


def test_too_many_planes_are_refused(generator: Generator) -> None:
    ring = RingMapper(RingConfig(planes=60, axes=128))
    people = generator.sample([0], 0.85)
    mapper = ModulationMapper(MapperConfig(odd=False))
    with pytest.raises(ValueError, match="planes"):
        begin_as_ring(mapper, ring, people, seeded(), 1)
