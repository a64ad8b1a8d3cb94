"""Tests of what the other systems share."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facersa.cipher.password import Password
from facersa.errors import PasswordError
from facersa.evaluation.baselines.base import (
    edit_whitened,
    password_bytes,
    password_normals,
    replace_rows,
)
from facersa.generator.statistics import WStatistics


def test_editing_whitened_rows_changes_these_alone(any_ws: Tensor) -> None:
    statistics = WStatistics.load()
    edited = edit_whitened(any_ws, (3, 5), statistics, lambda z: 2 * z)
    kept = [k for k in range(16) if k not in (3, 5)]
    assert torch.equal(edited[:, kept], any_ws[:, kept])
    before, after = statistics.whiten(any_ws[:, 3]), statistics.whiten(edited[:, 3])
    torch.testing.assert_close(after, 2 * before, atol=1e-3, rtol=1e-3)


def test_rows_are_replaced_in_a_copy(any_ws: Tensor) -> None:
    before = any_ws.clone()
    other = torch.zeros_like(any_ws)
    replaced = replace_rows(any_ws, (0, 15), other)
    assert torch.equal(any_ws, before)
    assert replaced[:, [0, 15]].abs().max() == 0
    assert torch.equal(replaced[:, 1:15], any_ws[:, 1:15])


def test_a_password_gives_the_same_bytes_and_a_bit_flip_others(any_ws: Tensor) -> None:
    password = Password.random(16, seed=1)
    flipped = password.flip(3)
    first, second = (
        password_bytes(p.code, any_ws, 16, 64) for p in (password, password)
    )
    assert first.shape == (3, 64) and (first == second).all()
    assert (first[0] != password_bytes(flipped.code, any_ws, 16, 64)[0]).mean() > 0.9
    with pytest.raises(PasswordError, match="expected codes of shape"):
        password_bytes(Password.random(8, seed=1).code, any_ws, 16, 4)


def test_a_passwords_normals_are_normal(any_ws: Tensor) -> None:
    codes = torch.cat([Password.random(16, seed=k).code for k in range(3)])
    normals = password_normals(codes, any_ws, 16, 4096)
    assert normals.shape == (3, 4096) and normals.isfinite().all()
    assert normals.mean().abs() < 0.05 and abs(normals.std() - 1) < 0.05
    assert normals.corrcoef().triu(1).abs().max() < 0.1
