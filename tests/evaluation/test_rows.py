"""Tests of row copying from pictures."""

from __future__ import annotations

import math

import pytest
import torch

from facersa.errors import FaceRSAError
from facersa.evaluation.rows import best_copy, copied_rows, copies, rank_one
from facersa.generator.base import Generator
from facersa.pipeline import FaceRSA


@pytest.mark.parametrize("layers", [(3, 4, 5, 6, 7, 8), (0, 1, 2), (5,)])
def test_every_copy_brings_a_code_in_w_back(layers: tuple[int, ...]) -> None:
    ws = torch.randn(2, 1, 8).expand(2, 16, 8)
    edited = ws.clone()
    edited[:, list(layers)] += 1
    for name, copy in copies(layers, 16).items():
        assert (copy(edited) - ws).abs().max() < 1e-6, name


def test_copies_are_what_their_names_say() -> None:
    ws = torch.arange(16.0)[None, :, None]
    named = copies((3, 4, 5, 6, 7, 8), 16)
    edited = {name: copy(ws)[0, 3:9, 0].tolist() for name, copy in named.items()}
    assert edited["2"] == [2] * 6 and edited["1+2"] == [1.5] * 6
    assert edited["1|2"] == [1, 1, 1, 2, 2, 2]
    assert edited["all"] == [pytest.approx(8.7)] * 6
    assert "3" not in named and "2+9" not in named


def test_the_exact_copy_is_chosen(generator: Generator) -> None:
    engine, ws = FaceRSA(generator), generator.sample([3, 4], 0.7)
    edited = engine.cipher()(ws, torch.full((1, 128), 0.5))
    wrong = {"nothing": lambda ws: ws}
    named = copies(engine.cipher().layers, 16)
    assert best_copy(engine, wrong | named, edited, ws) in named


def test_rank_one_finds_the_nearest() -> None:
    gallery = torch.eye(3)
    probes = torch.tensor([[1.0, 0.2, 0], [0.9, 0.1, 0], [math.nan] * 3])
    found = rank_one(probes, gallery)
    assert found[:2] == [1, 0] and math.isnan(found[2])
    assert rank_one(torch.eye(2), torch.tensor([[math.nan] * 2, [1.0, 1.0]])) == [0, 1]


def test_a_gallery_of_one_is_refused() -> None:
    with pytest.raises(FaceRSAError, match="2 people or more, got 1"):
        copied_rows([], n=1)
