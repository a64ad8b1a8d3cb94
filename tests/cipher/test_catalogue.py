"""Tests of the paper's mapper, and of what all mappers have in common."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from facersa.cipher.catalogue import (
    MAPPERS,
    SteeredConfig,
    SteeredMapper,
    build_mapper,
    fingerprint,
    kind_of,
    load_mapper,
    load_teacher,
    mapper_card,
)
from facersa.cipher.modulation import (
    MapperConfig,
    Modulation,
    ModulationMapper,
    PasswordConverter,
)
from facersa.cipher.password import Password
from facersa.errors import AssetError, PasswordError
from facersa.training.losses import PasswordReader


def codes(*seeds: int, num_bits: int = 16) -> Tensor:
    return torch.cat([Password.random(num_bits, seed=s).code for s in seeds])


@pytest.mark.parametrize("kind", MAPPERS)
def test_only_the_edited_rows_change(kind: str, any_ws: Tensor) -> None:
    mapper = build_mapper(kind)
    edited = mapper(any_ws, codes(1))
    assert edited.shape == any_ws.shape and edited.dtype == any_ws.dtype
    kept = [r for r in range(16) if r not in (5, 6, 7, 8)]
    assert torch.equal(edited[:, kept], any_ws[:, kept])
    assert ((edited - any_ws)[:, 5:9].abs().amax((1, 2)) > 1e-3).all()


@pytest.mark.parametrize("kind", MAPPERS)
def test_one_code_serves_all_faces_and_each_may_have_its_own(
    kind: str, any_ws: Tensor
) -> None:
    mapper = build_mapper(kind)
    torch.testing.assert_close(mapper(any_ws, codes(4)), mapper(any_ws, codes(4, 4, 4)))
    each = mapper(any_ws, codes(4, 5, 6))
    torch.testing.assert_close(each[1:2], mapper(any_ws[1:2], codes(5)))


@pytest.mark.parametrize("kind", MAPPERS)
def test_bad_input_names_the_cure(kind: str, any_ws: Tensor) -> None:
    mapper = build_mapper(kind)
    with pytest.raises(PasswordError, match="num_bits=16"):
        mapper(any_ws, codes(1, num_bits=8))
    with pytest.raises(PasswordError, match="1 or 3"):
        mapper(any_ws, codes(1, 2))
    with pytest.raises(ValueError, match="W\\+ code"):
        mapper(any_ws[:, :8], codes(1))
    with pytest.raises(ValueError, match="shape"):
        mapper(any_ws[..., :100], codes(1))


@pytest.mark.parametrize("kind", MAPPERS)
def test_a_sum_is_a_code_like_any_other(kind: str, any_ws: Tensor) -> None:
    total = Password.random(16, seed=1) + Password.random(16, seed=2)
    assert torch.isfinite(build_mapper(kind)(any_ws, total.code)).all()


def test_converter_by_hand() -> None:
    converter = PasswordConverter(16)
    code = codes(3)
    by_hand = code @ converter.first.weight.T + converter.first.bias
    by_hand = torch.where(by_hand > 0, by_hand, 0.01 * by_hand)
    by_hand = by_hand @ converter.second.weight.T + converter.second.bias
    by_hand = torch.where(by_hand > 0, by_hand, 0.01 * by_hand)
    torch.testing.assert_close(converter(code), by_hand)


@pytest.mark.parametrize("one_plus", [False, True])
def test_modulation_by_hand(one_plus: bool) -> None:
    module = Modulation(one_plus=one_plus)
    x, v = torch.randn(2, 4, 512), torch.randn(2, 512)
    for i in range(2):
        y = x[i] @ module.linear.weight.T + module.linear.bias
        y = (y - y.mean()) / (y.var(unbiased=False) + 1e-5).sqrt()
        gamma, beta = module.gamma(v[i : i + 1])[0], module.beta(v[i : i + 1])[0]
        expected = y * (gamma + one_plus) + beta
        torch.testing.assert_close(module(x, v)[i], expected, atol=1e-5, rtol=1e-4)


def test_published_quirks_do_what_their_names_say(any_ws: Tensor) -> None:
    published = ModulationMapper(MapperConfig.published())
    change = published.change(any_ws, codes(1, 2, 3))
    # A last LeakyReLU of slope .01 leaves next to nothing below zero.
    assert change.clamp_max(0).abs().sum() < 0.05 * change.abs().sum()
    # Biases alone move a face that nobody encrypted.
    assert published.change(any_ws, torch.zeros(1, 16)).abs().max() > 1e-3
    ours = ModulationMapper()
    assert (
        ours.change(any_ws, torch.zeros(1, 16).expand(3, -1)).abs().max() < 1e-5
    )  # both halves round apart
    there, back = (ours.change(any_ws, s * codes(1, 2, 3)) for s in (1, -1))
    torch.testing.assert_close(there, -back)


@pytest.mark.parametrize(("norm", "dim"), [("features", -1), ("rows", -2)])
def test_the_axis_of_the_pixel_norm(norm: str, dim: int, any_ws: Tensor) -> None:
    mapper = ModulationMapper(MapperConfig(norm=norm, modules=1, odd=False))
    scaled = any_ws.clone()
    scaled[:, 5:9] *= torch.rand(3, 4 if dim == -1 else 1, 1 if dim == -1 else 512) + 1
    code = codes(1, 2, 3)
    torch.testing.assert_close(mapper.change(scaled, code), mapper.change(any_ws, code))


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="features"):
        ModulationMapper(MapperConfig(norm="pixels"))
    with pytest.raises(ValueError, match="different rows"):
        ModulationMapper(MapperConfig(layers=(5, 5)))
    with pytest.raises(ValueError, match="different rows"):
        SteeredMapper(SteeredConfig(context=(4, 5)))
    with pytest.raises(ValueError, match="one of"):
        build_mapper("linear")


@pytest.mark.parametrize(("kind", "error"), [("steered", 1e-12), ("ring", 1e-6)])
def test_an_exact_mapper_is_a_group_action(
    kind: str, error: float, any_ws: Tensor
) -> None:
    """(c), (f), (g), (h), and nothing at zero, before any training.

    A ring reads what it wrote, along axes that are orthogonal to float32 only.
    """
    mapper, ws = build_mapper(kind).double(), any_ws.double()
    e1, e2, e3 = (codes(s).double() for s in (1, 2, 3))
    once = mapper(ws, e1)
    assert torch.equal(mapper(ws, torch.zeros(1, 16)), ws)
    close = {"atol": error, "rtol": 0.0}
    torch.testing.assert_close(mapper(once, -e1), ws, **close)
    twice = mapper(once, e2)
    torch.testing.assert_close(twice, mapper(ws, e1 + e2), **close)
    torch.testing.assert_close(mapper(twice, -e1), mapper(ws, e2), **close)
    chain = mapper(mapper(twice, e3), -(e1 + e3))
    torch.testing.assert_close(chain, mapper(ws, e2), **close)


@pytest.mark.parametrize("kind", ["steered", "ring"])
def test_in_single_precision_it_is_exact_enough(kind: str, any_ws: Tensor) -> None:
    mapper = build_mapper(kind)
    back = mapper(mapper(any_ws, codes(1)), -codes(1))
    assert (back - any_ws).abs().max() < 1e-5


def test_reader_reads_one_row() -> None:
    assert PasswordReader(16)(torch.randn(2, 512)).shape == (2, 16)


@pytest.mark.parametrize("kind", MAPPERS)
def test_the_shipped_mapper_is_the_one_of_its_card(kind: str) -> None:
    mapper, card = load_mapper(kind), mapper_card(kind)
    assert card["task"] == f"mapper_{kind}" and card["steps_done"] > 0
    assert kind_of(mapper) == kind
    assert list(mapper.layers) == card["settings"]["mapper"]["layers"]
    assert not any(p.requires_grad for p in mapper.parameters())
    assert fingerprint(mapper) == fingerprint(load_mapper(kind))
    assert fingerprint(mapper) != fingerprint(build_mapper(kind))
    results = Path(__file__).parents[2] / "book" / "results"
    tables = list(results.glob(f"properties_{kind}_*.json"))
    assert len(tables) == 4
    for table in tables:  # measured of these weights, and files of users need them
        assert json.loads(table.read_text())["cipher"].endswith(fingerprint(mapper))


def test_a_fingerprint_sees_what_a_file_holds() -> None:
    """Biases whole: some are so large that halves would be coarse."""
    mapper = load_mapper("faithful")
    whole = fingerprint(mapper)
    state = mapper.state_dict()
    halved = {k: v.half().float() for k, v in state.items()}
    assert any(not torch.equal(halved[k], v) for k, v in state.items() if v.ndim == 1)
    mapper.load_state_dict(halved)
    assert fingerprint(mapper) != whole


def test_whoever_is_copied_is_exact() -> None:
    assert kind_of(load_teacher()) == "ring"
    with pytest.raises(AssertionError):
        load_teacher("faithful")


def test_missing_weights_name_the_cure() -> None:
    with pytest.raises(AssetError, match="facersa train mapper --mapper none"):
        load_mapper("none")
