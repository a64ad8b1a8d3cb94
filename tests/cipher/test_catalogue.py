"""Tests of the paper's mapper, and of what all mappers have in common."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from facersa.cipher.catalogue import (
    CATALOGUE,
    LEARNED,
    build_cipher,
    load_cipher,
    model_card,
)
from facersa.cipher.description import fingerprint
from facersa.cipher.modulation import MapperConfig, ModulationMapper
from facersa.cipher.password import Password
from facersa.cipher.steered import SteeredConfig, SteeredMapper
from facersa.errors import AssetError, FaceRSAError, PasswordError


def codes(*seeds: int, num_bits: int = 16) -> Tensor:
    return torch.cat([Password.random(num_bits, seed=s).code for s in seeds])


@pytest.mark.parametrize("kind", LEARNED)
def test_only_the_edited_rows_change(kind: str, any_ws: Tensor) -> None:
    mapper = build_cipher(kind)
    edited = mapper(any_ws, codes(1))
    assert edited.shape == any_ws.shape and edited.dtype == any_ws.dtype
    kept = [r for r in range(16) if r not in (5, 6, 7, 8)]
    assert torch.equal(edited[:, kept], any_ws[:, kept])
    assert ((edited - any_ws)[:, 5:9].abs().amax((1, 2)) > 1e-3).all()


@pytest.mark.parametrize("kind", LEARNED)
def test_one_code_serves_all_faces_and_each_may_have_its_own(
    kind: str, any_ws: Tensor
) -> None:
    mapper = build_cipher(kind)
    torch.testing.assert_close(mapper(any_ws, codes(4)), mapper(any_ws, codes(4, 4, 4)))
    each = mapper(any_ws, codes(4, 5, 6))
    torch.testing.assert_close(each[1:2], mapper(any_ws[1:2], codes(5)))


@pytest.mark.parametrize("kind", LEARNED)
def test_bad_input_names_the_cure(kind: str, any_ws: Tensor) -> None:
    mapper = build_cipher(kind)
    with pytest.raises(PasswordError, match="num_bits=16"):
        mapper(any_ws, codes(1, num_bits=8))
    with pytest.raises(PasswordError, match="1 or 3"):
        mapper(any_ws, codes(1, 2))
    with pytest.raises(ValueError, match="W\\+ code"):
        mapper(any_ws[:, :8], codes(1))
    with pytest.raises(ValueError, match="shape"):
        mapper(any_ws[..., :100], codes(1))


@pytest.mark.parametrize("kind", LEARNED)
def test_a_sum_is_a_code_like_any_other(kind: str, any_ws: Tensor) -> None:
    total = Password.random(16, seed=1) + Password.random(16, seed=2)
    assert torch.isfinite(build_cipher(kind)(any_ws, total.code)).all()


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="features"):
        ModulationMapper(MapperConfig(norm="pixels"))
    with pytest.raises(ValueError, match="different rows"):
        ModulationMapper(MapperConfig(layers=(5, 5)))
    with pytest.raises(ValueError, match="different rows"):
        SteeredMapper(SteeredConfig(context=(4, 5)))
    with pytest.raises(FaceRSAError, match="one of"):
        build_cipher("linear")
    with pytest.raises(FaceRSAError, match="cannot be built.*different rows"):
        build_cipher("ring", {"layers": [5, 5]})
    with pytest.raises(FaceRSAError, match="cannot be built.*unexpected"):
        build_cipher("ring", {"radios": 3})


@pytest.mark.parametrize(("kind", "error"), [("steered", 1e-12), ("ring", 1e-6)])
def test_an_exact_mapper_is_a_group_action(
    kind: str, error: float, any_ws: Tensor
) -> None:
    """(c), (f), (g), (h), and nothing at zero, before any training.

    A ring reads what it wrote, along axes that are orthogonal to float32 only.
    """
    mapper, ws = build_cipher(kind).double(), any_ws.double()
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
    mapper = build_cipher(kind)
    back = mapper(mapper(any_ws, codes(1)), -codes(1))
    assert (back - any_ws).abs().max() < 1e-5


@pytest.mark.parametrize("kind", LEARNED)
def test_the_shipped_mapper_is_the_one_of_its_card(kind: str) -> None:
    mapper, card = load_cipher(kind), model_card(kind)
    assert card["task"] == f"mapper_{kind}" and card["steps_done"] > 0
    assert mapper.name == kind and mapper.exact == (kind in ("ring", "steered"))
    assert mapper.settings == card["settings"]["mapper"]
    assert list(mapper.layers) == card["settings"]["mapper"]["layers"]
    assert not any(p.requires_grad for p in mapper.parameters())
    assert fingerprint(mapper) == fingerprint(load_cipher(kind))
    assert fingerprint(mapper) != fingerprint(build_cipher(kind))
    results = Path(__file__).parents[2] / "book" / "results"
    tables = list(results.glob(f"properties_{kind}_*.json"))
    assert len(tables) == (2 if kind == "faithful" else 4)
    for table in tables:  # measured of these weights, and files of users need them
        assert json.loads(table.read_text())["cipher"].endswith(fingerprint(mapper))


def test_missing_weights_name_the_cure(tmp_path: Path) -> None:
    with pytest.raises(AssetError, match="facersa train mapper --cipher ring"):
        load_cipher("ring", tmp_path / "none.safetensors")
    with pytest.raises(FaceRSAError, match="one of .*'faithful'.*got 'none'"):
        load_cipher("none")


def trained(folder: Path, kind: str = "ring", **settings: Any) -> Path:
    """Weights and card as a training run leaves them."""
    cipher = build_cipher(kind, settings)
    path = folder / "own.safetensors"
    save_file({k: v.contiguous() for k, v in cipher.state_dict().items()}, path)
    card = {"settings": {"mapper": cipher.settings}}
    path.with_suffix(".json").write_text(json.dumps(card))
    return path


def test_weights_of_ones_own_are_loaded_with_their_card(tmp_path: Path) -> None:
    path = trained(tmp_path, num_bits=24, planes=4)
    cipher = load_cipher("ring", path)
    assert (cipher.num_bits, cipher.settings["planes"]) == (24, 4)
    with pytest.raises(AssetError, match="does not hold weights of the steered"):
        load_cipher("steered", path)
    path.write_bytes(b"nonsense")
    with pytest.raises(AssetError, match="does not hold weights"):
        load_cipher("ring", path)


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("ring", 3),
        ("ring", {"layers": [10**9]}),
        ("ring", {"layers": [5.0]}),
        ("ring", {"axes": 600, "planes": 2}),
        ("ring", {"strength": "1"}),
        ("ring", {"num_bits": 10**400}),
        ("steered", {"width": 10**6}),
        ("steered", {"context": [10**6]}),
        ("faithful", {"modules": 10**8}),
        ("faithful", {"strength": None}),
    ],
)
def test_a_senseless_card_is_refused_at_once(
    tmp_path: Path, kind: str, settings: Any
) -> None:
    path = trained(tmp_path, kind)
    card = {"settings": {"mapper": settings}}
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(AssetError, match=f"not hold weights of the {kind}"):
        load_cipher(kind, path)


def test_weights_with_which_a_cipher_fails_are_refused(tmp_path: Path) -> None:
    path = trained(tmp_path)
    zero = {k: torch.zeros_like(v) for k, v in load_file(path).items()}
    save_file(zero, path)  # planes without a direction
    with pytest.raises(AssetError, match="does not hold weights of the ring"):
        load_cipher("ring", path)
    path.with_suffix(".json").write_text("[" * 20_000)
    with pytest.raises(AssetError, match="cannot read the card"):
        load_cipher("ring", path)


def test_settings_that_a_cipher_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FaceRSAError, match="no setting kappa or layers"):
        load_cipher("ring", layers=[3], kappa=0.1)
    with pytest.raises(FaceRSAError, match="no weights to load"):
        load_cipher("rotation", tmp_path / "x.safetensors")
    with pytest.raises(PasswordError, match="codes of 16 bits, got 128"):
        load_cipher("ring", num_bits=128)
    for bits in (0, -1, 5000):
        with pytest.raises(PasswordError, match="1 to 4096 bits"):
            load_cipher(num_bits=bits)


def test_file_numbers_are_for_ever() -> None:
    numbers = {name: entry.file_id for name, entry in CATALOGUE.items()}
    assert numbers == {
        "rotation": 0,
        "steered": 1,
        "faithful": 2,
        "ring": 3,
        "steady": 4,
        "assembled": 5,
    }
