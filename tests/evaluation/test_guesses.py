"""Tests of telling right guesses from wrong ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from facersa.errors import FaceRSAError
from facersa.evaluation.guesses import inverted, levels_apart, repainted, told_apart
from facersa.generator.base import Generator
from facersa.inversion.search import ProjectConfig
from facersa.pipeline import FaceRSA
from facersa.sealing.compact import CompactCode


def test_a_stopped_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    calls: list[int] = []

    def find(picture: Tensor, **how: Any) -> Tensor:
        calls.append(how["config"].steps)
        return torch.full((1, 2, 3), float(len(calls)))

    engine = SimpleNamespace(
        generator=SimpleNamespace(num_ws=2, w_dim=3),
        renderer=SimpleNamespace(full=lambda ws: torch.zeros(1, 3, 4, 4)),
        inverter=SimpleNamespace(find=find),
    )
    config, path = ProjectConfig(steps=0), tmp_path / "codes.safetensors"

    def run(count: int) -> Tensor:
        codes, prior = torch.zeros(count, 2, 3), CompactCode.load()
        return inverted(cast(FaceRSA, engine), codes, config, prior, path, False)

    first = run(2)
    assert torch.equal(run(3)[:2], first) and calls == [0, 0, 0]
    assert torch.equal(run(1), first[:1]) and len(calls) == 3


def test_only_the_right_guess_paints_the_picture_again(generator: Generator) -> None:
    engine = FaceRSA(generator)
    ws = generator.sample([3], 0.7)
    preview = engine.renderer.preview(ws).clamp(-1, 1)
    assert float(levels_apart(engine, preview, ws)) < 1e-3
    table = CompactCode.load()
    sealed = table.quantise(ws, engine.statistics)
    near, far, codes = repainted(engine, table, sealed, 2, seed=0)
    assert codes.shape == (2, 16, 512) and far.shape == (2,)
    assert float(near) < 12 < 20 < float(far.min())


def test_too_few_people_are_refused(generator: Generator) -> None:
    with pytest.raises(FaceRSAError, match="20 people and 9 guesses or more, got 5"):
        told_apart(FaceRSA(generator), ProjectConfig(steps=0), n=5)
