"""Tests of the two closed forms: what they undo exactly, and what they do not."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from facersa.cipher.password import Password
from facersa.evaluation.baselines.turned import ANGLE, CaoLike, SignFlipLike

E1, E2 = (Password.random(16, seed=k).code for k in (1, 2))


def gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max())


@pytest.mark.parametrize("system", [CaoLike(), SignFlipLike()])
def test_the_right_password_undoes_it_and_a_wrong_one_does_not(
    system: CaoLike | SignFlipLike, any_ws: Tensor
) -> None:
    once = system(any_ws, E1)
    assert gap(once, any_ws) > 0.5
    assert gap(system.decrypt(once, E1), any_ws) < 1e-5
    assert gap(system.decrypt(once, E2), any_ws) > 0.5
    twice = system(once, E2)
    assert gap(system.decrypt(system.decrypt(twice, E2), E1), any_ws) < 1e-5


def test_the_order_matters_to_turns_and_not_to_signs(any_ws: Tensor) -> None:
    for system, commutes in ((CaoLike(), False), (SignFlipLike(), True)):
        a = system(system(any_ws, E1), E2)
        b = system(system(any_ws, E2), E1)
        assert (gap(a, b) < 1e-5) == commutes
        back = system.decrypt(system.decrypt(a, E1), E2)
        assert (gap(back, any_ws) < 1e-5) == commutes


def test_no_sum_does_what_its_chain_does(any_ws: Tensor) -> None:
    for system in (CaoLike(), SignFlipLike()):
        chained = system(system(any_ws, E1), E2)
        assert gap(system(any_ws, E1 + E2), chained) > 0.5


def test_the_identity_vector_turns_by_the_angle(any_ws: Tensor) -> None:
    system = CaoLike()
    z = system.statistics.whiten(any_ws[:, 3:9])
    turned = system.statistics.whiten(system(any_ws, E1)[:, 3:9])
    before, after = z.mean(1), turned.mean(1)
    cosine = torch.cosine_similarity(before, after)
    assert (cosine - math.cos(ANGLE)).abs().max() < 1e-3
    torch.testing.assert_close(before.norm(dim=1), after.norm(dim=1), rtol=1e-3, atol=0)
    differences = z - before[:, None], turned - after[:, None]  # the attributes
    torch.testing.assert_close(*differences, atol=2e-3, rtol=0)


def test_half_of_the_signs_change(any_ws: Tensor) -> None:
    system = SignFlipLike()
    z = system.statistics.whiten(any_ws[:, 3:9])
    flipped = system.statistics.whiten(system(any_ws, E1)[:, 3:9])
    torch.testing.assert_close(z.abs(), flipped.abs(), atol=2e-3, rtol=0)
    assert 0.4 < (z.sign() != flipped.sign()).double().mean() < 0.6
