"""Tests of the property table."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from facersa.cipher.base import Cipher
from facersa.cipher.rotation import RotationCipher
from facersa.errors import FaceRSAError
from facersa.evaluation import properties
from facersa.evaluation.properties import (
    PAIRS,
    ROUNDING,
    close,
    evaluate,
    property_codes,
    property_passwords,
)
from facersa.evaluation.results import table, value
from facersa.generator.base import Generator
from facersa.generator.stylegan2 import StyleGAN2


def test_every_pair_names_codes_that_exist(generator: Generator) -> None:
    ws, other = generator.sample([1, 2], 0.7).split(1)
    codes = property_codes(RotationCipher(num_bits=16), ws, 3, other)
    for pairs in PAIRS.values():
        for first, second, _ in pairs:
            assert {first, second} <= set(codes)
    assert set(PAIRS) == set("bcdefgh")
    same = {"c", "f", "g", "h"}  # the rotation is exact: pairs check their codes
    for prop, pairs in PAIRS.items():
        for first, second, _ in pairs:
            gap = (codes[first] - codes[second]).abs().max()
            assert gap < 1e-4 if prop in same else gap > 0.1, (prop, first, second)


def test_a_name_spells_its_chain(generator: Generator) -> None:
    cipher = RotationCipher(num_bits=16)
    ws, other = generator.sample([1, 2], 0.7).split(1)
    codes = property_codes(cipher, ws, 3, other)
    e, wrong = property_passwords(16, 3)
    once = cipher(ws, e[0].code)
    by_hand = {
        "I": ws,
        "I0": cipher(ws, (e[0] + e[0].inverse).code),
        "I'e1": cipher(other, e[0].code),
        "Ie1": once,
        "Ie1^": cipher(ws, e[0].flip(3).code),
        "Ie1d'": cipher(once, wrong.code),
        "Ie1d1^": cipher(once, e[0].flip(3).inverse.code),
        "Ie1e2d1": cipher(cipher(once, e[1].code), e[0].inverse.code),
        "I(e1+e2+e3)": cipher(ws, (e[0] + e[1] + e[2]).code),
        "Ie1e2(d1+d2)": cipher(cipher(once, e[1].code), (e[0] + e[1]).inverse.code),
    }
    for name, code in by_hand.items():
        assert torch.equal(codes[name], code), name
    assert len(codes) == 25


def test_close_codes_look_equal(generator: Generator) -> None:
    rng = torch.Generator().manual_seed(0)
    ws = generator.sample([5], 1.0)
    noise = (torch.rand(ws.shape, generator=rng) < 0.5).float() * 2 - 1
    near = ws + 0.9 * ROUNDING * noise
    assert close(ws, near) and not close(ws, ws + 3 * ROUNDING * noise)
    pictures = [generator.synthesize(codes) for codes in (ws, near)]
    half_a_level = 1 / 255  # of 8 bits, in [-1, 1]
    assert (pictures[0] - pictures[1]).abs().max() < half_a_level


def test_passwords_of_short_codes_never_coincide() -> None:
    for seed in range(200):
        e, wrong = property_passwords(4, seed)
        drawn = {*e, wrong}
        assert len(drawn | {p.inverse for p in drawn}) == 10
    with pytest.raises(FaceRSAError, match="at least 4"):
        property_passwords(2, 0)


def mean(result: dict, prop: str, pair: str, metric: str, judge: str | None) -> float:
    row = value(result, prop, pair, metric, judge)
    assert row.low <= row.mean <= row.high
    return row.mean


def run(generator: Generator, cipher: Cipher) -> dict:
    return evaluate(cipher, generator, n=2, progress=False)


class DoesNothing(RotationCipher):
    """A cipher that leaves everybody as they are."""

    def forward(self, ws: Tensor, code: Tensor) -> Tensor:
        return ws


@pytest.mark.slow
def test_the_rotation_cipher_has_the_exact_properties(generator: Generator) -> None:
    cipher = RotationCipher(num_bits=16)
    result = run(generator, cipher)
    assert json.loads(json.dumps(result)) == result
    assert mean(result, "a", "I", "detected", "heldout") == 1
    assert mean(result, "b", "I~Ie1", "id", "heldout") < 0.8
    assert value(result, "a", "I~Ie1", "classifier_accuracy").n == 2
    for prop, pair in (
        ("c", "I~Ie1d1"),
        ("f", "I~Ie1e2e3e4d4d3d2d1"),
        ("g", "Ie2~Ie1e2d1"),
        ("h", "Ie1e2~I(e1+e2)"),
    ):
        assert mean(result, prop, pair, "w_error", None) < 1e-4
        assert mean(result, prop, pair, "id", "train") > 0.999
        assert mean(result, prop, pair, "psnr", None) > 45
    assert mean(result, "attack", "I~copy row 9", "id", "train") > 0.999
    assert "Ie2~Ie1e2d1" in table(result)


@pytest.mark.slow
def test_a_cipher_that_does_nothing_fails_the_table(generator: Generator) -> None:
    result = run(generator, DoesNothing(num_bits=16))
    assert mean(result, "b", "I~Ie1", "id", "heldout") == pytest.approx(1, abs=1e-5)
    assert mean(result, "b", "I~Ie1", "same_person", "train") == 1
    # Of two equal pictures a classifier gets exactly one right.
    assert mean(result, "a", "I~Ie1", "classifier_accuracy", None) == 0.5


@pytest.mark.slow
def test_a_generator_of_18_rows_goes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        properties, "Renderer", lambda g: SimpleNamespace(full=g.synthesize)
    )
    small: Any = StyleGAN2([4] * 9).requires_grad_(False)
    result = run(small, RotationCipher(num_bits=16))
    error = value(result, "c", "I~Ie1d1", "w_error")
    assert small.num_ws == 18 and error.n == 2 and error.mean < 1e-4
    assert value(result, "attack", "I~copy row 9", "id", "heldout").n == 0  # no face
