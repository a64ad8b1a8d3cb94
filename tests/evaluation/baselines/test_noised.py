"""Tests of noise on identity, and of shifted attributes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from facersa.cipher.password import Password
from facersa.evaluation.baselines.noised import (
    FAR,
    LIMIT,
    RADIUS,
    IdentityDPLike,
    LiLike,
)

CODE = Password.random(16, seed=1).code


def test_less_epsilon_is_more_noise_and_the_radius_is_fixed(any_ws: Tensor) -> None:
    person = any_ws[:, 5:6].expand(-1, 16, -1).contiguous()
    cosines = []
    for epsilon in (1000.0, 32.0, 8.0, 0.01):
        rng = torch.Generator().manual_seed(1)
        system = IdentityDPLike(epsilon, rng)
        before = system.statistics.whiten(person[:, 4])
        after = system.statistics.whiten(system(person, CODE)[:, 4])
        radius = after.square().mean(1).sqrt()
        torch.testing.assert_close(
            radius, torch.full_like(radius, RADIUS), rtol=1e-3, atol=0
        )
        cosines.append(float(torch.cosine_similarity(before, after).mean()))
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[0] > 0.9 and abs(cosines[-1]) < 0.15


def test_the_noise_is_laplaces_of_the_promised_scale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    epsilon, drawn = 4.0, 200_000
    system = IdentityDPLike(epsilon, torch.Generator().manual_seed(1))
    monkeypatch.setattr("facersa.evaluation.baselines.noised.RADIUS", 1.0)
    noisy = system._noisy(torch.zeros(1, 1, drawn, dtype=torch.float64))[0, 0]
    ratio = noisy.abs().mean() / noisy.square().mean().sqrt()
    assert abs(ratio - 0.5**0.5) < 0.01  # E|x| / rms of a Laplace variable
    assert 2 * LIMIT / epsilon == 1


def test_without_a_seed_no_two_calls_agree(any_ws: Tensor) -> None:
    system = IdentityDPLike(8.0)
    assert not torch.equal(system(any_ws, CODE), system(any_ws, CODE))


def test_attributes_move_to_their_other_side_and_nothing_else(any_ws: Tensor) -> None:
    system = LiLike()
    z = system.statistics.whiten(any_ws)[:, 3:11]
    moved = system.statistics.whiten(system(any_ws, CODE))[:, 3:11]
    before, after = (x.mean(1) @ system.directions for x in (z, moved))
    assert (before.sign() == -after.sign()).all()
    assert (after.abs() >= FAR - 1e-3).all()
    rest = torch.eye(512).double() - system.directions @ system.directions.T
    torch.testing.assert_close(z @ rest, moved @ rest, atol=2e-3, rtol=0)
