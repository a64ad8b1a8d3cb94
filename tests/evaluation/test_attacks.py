"""Tests of the attacks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facersa.cipher.password import Password
from facersa.cipher.rotation import RotationCipher
from facersa.cipher.steered import SteeredMapper
from facersa.evaluation.attacks import classifier_accuracy, copy_row
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics


def test_a_code_in_w_comes_back_whole_without_a_password(generator: Generator) -> None:
    ws = generator.sample([8], 0.85)
    cipher = RotationCipher()
    edited = cipher(ws, Password.random(seed=1).code)
    assert (edited - ws).abs().max() > 0.1
    assert torch.equal(copy_row(edited, cipher.layers, 9), ws)


def test_an_edited_row_is_no_source() -> None:
    with pytest.raises(ValueError, match="row 5 is edited"):
        copy_row(torch.zeros(1, 16, 512), (5, 6), 5)


def test_a_classifier_detects_a_mark_and_is_at_chance_without_one() -> None:
    plain, encrypted = torch.randn(2, 40, 200)
    chance = classifier_accuracy(plain, encrypted)
    assert chance.shape == (40,) and set(chance.tolist()) <= {0.0, 0.5, 1.0}
    assert 0.3 < chance.mean() < 0.7
    marked = encrypted.clone()
    marked[:, :20] += 1.5
    assert classifier_accuracy(plain, marked).mean() > 0.95
    with pytest.raises(ValueError, match="2 people"):
        classifier_accuracy(plain[:1], encrypted[:1])


@pytest.mark.parametrize("kind", ["rotation", "steered"])
def test_an_edited_code_in_clear_betrays_its_password(
    kind: str, generator: Generator
) -> None:
    """Every wrong guess leaves the code longer than the right one does."""
    ws = generator.sample([8], 0.85)
    cipher = RotationCipher(num_bits=16) if kind == "rotation" else SteeredMapper()
    right = Password.random(16, seed=0)
    guesses = [right, *(Password.random(16, seed=s) for s in range(1, 40))]

    def lengths(cipher: RotationCipher | SteeredMapper) -> Tensor:
        edited, whiten = cipher(ws, right.code), WStatistics.load().whiten
        rows = [cipher(edited, p.inverse.code)[0, list(cipher.layers)] for p in guesses]
        return torch.stack([whiten(row).norm(dim=-1).mean() for row in rows])

    assert lengths(cipher).argmin() == 0
    if kind == "rotation":  # without a push every guess is as typical as another
        plain = lengths(RotationCipher(num_bits=16, kappa=0.0))
        assert (plain - plain[0]).abs().max() < 1e-3
