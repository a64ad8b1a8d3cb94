"""Tests of the preview head's task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from facersa.generator.base import Generator
from facersa.generator.load import load_generator
from facersa.judges.networks import load_identity
from facersa.people import varied_codes
from facersa.training.loop import PRESETS, train
from facersa.training.preview import HeadTask


def test_varied_codes_are_of_three_kinds_and_repeatable(generator: Generator) -> None:
    codes = varied_codes(generator, 40, seed=5)
    assert codes.shape == (40, 16, 512)
    torch.testing.assert_close(varied_codes(generator, 3, seed=6), codes[1:4])
    distinct = [len(torch.unique(code, dim=0)) for code in codes]
    assert {1, 2, 16} == set(distinct)


@pytest.mark.slow
def test_the_head_learns_a_little_in_a_few_steps(tmp_path: Path) -> None:
    generator = load_generator()
    generator.head.reset()
    task = HeadTask(generator, load_identity())
    results = train(task, PRESETS["smoke"], tmp_path, progress=False)
    assert results["people"] == 4
    assert -1 < results["id_raw_mean"] < 1
    log = [json.loads(x) for x in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["mse"] < 1.0
    head = load_file(tmp_path / "preview_head.safetensors")
    generator.head.load_state_dict({k: v.float() for k, v in head.items()})
