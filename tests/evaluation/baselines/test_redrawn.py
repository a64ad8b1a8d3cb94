"""Tests of the systems that draw a face anew."""

from __future__ import annotations

import torch
from torch import Tensor

from facersa.cipher.password import Password
from facersa.evaluation.baselines.base import FACE_ROWS
from facersa.evaluation.baselines.redrawn import BANK, CiaganLike, DeepPrivacyLike
from facersa.generator.base import Generator
from facersa.people import MEASURED

CODE = Password.random(16, seed=1).code
OTHERS = [row for row in range(16) if row not in FACE_ROWS]


def test_each_call_draws_another_stranger(generator: Generator, any_ws: Tensor) -> None:
    system = DeepPrivacyLike(generator)
    first, second = system(any_ws, CODE), system(any_ws, CODE)
    assert torch.equal(first[:, OTHERS], any_ws[:, OTHERS])
    assert (first[:, 3] - second[:, 3]).abs().mean() > 0.1
    assert (first[0, 3] - first[1, 3]).abs().mean() > 0.1
    assert system.decrypt is None


def test_nothing_of_the_edited_rows_reaches_the_new_face(
    generator: Generator, any_ws: Tensor
) -> None:
    other = any_ws.clone()
    other[:, list(FACE_ROWS)] *= -1
    systems = [
        DeepPrivacyLike(generator, torch.Generator().manual_seed(5)) for _ in range(2)
    ]
    a, b = systems[0](any_ws, CODE), systems[1](other, CODE)
    assert torch.equal(a, b)
    system = CiaganLike(generator)
    assert torch.equal(system(any_ws, CODE), system(other, CODE))


def test_a_password_names_one_identity_for_everybody(
    generator: Generator, any_ws: Tensor
) -> None:
    assert set(BANK) <= set(MEASURED)
    system = CiaganLike(generator)
    one = system(any_ws, CODE)
    assert torch.equal(one[0, 3], one[2, 8])
    named = {system.identity(Password.random(16, seed=k).code[0]) for k in range(300)}
    assert min(named) >= 0 and max(named) < len(BANK) and len(named) > 100
