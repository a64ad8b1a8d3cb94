"""Tests of the attacks."""

from __future__ import annotations

import pytest
import torch

from facersa.attacks import copy_row
from facersa.generator import Generator
from facersa.password import Password
from facersa.rotation import RotationCipher


def test_a_code_in_w_comes_back_whole_without_a_password(generator: Generator) -> None:
    ws = generator.sample([8], 0.85)
    cipher = RotationCipher()
    edited = cipher(ws, Password.random(seed=1).code)
    assert (edited - ws).abs().max() > 0.1
    assert torch.equal(copy_row(edited, cipher.layers, 9), ws)


def test_an_edited_row_is_no_source() -> None:
    with pytest.raises(ValueError, match="row 5 is edited"):
        copy_row(torch.zeros(1, 16, 512), (5, 6), 5)
