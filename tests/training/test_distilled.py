"""Tests of the judge of codes and its training."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from facersa.errors import AssetError
from facersa.training.distilled import (
    CodeJudge,
    JudgeConfig,
    judge_card,
    load_judge,
    packed,
    predicted_distances,
    unpacked,
)
from facersa.training.losses import LossWeights, quality

SMALL = JudgeConfig(width=48, context=16, depth=1, dropout=0.0)


def test_a_view_has_the_predicted_distances() -> None:
    judge = CodeJudge(SMALL).eval().requires_grad_(False)
    ws = 0.4 * torch.randn(2, 16, 512)
    view, code = judge.view(ws, ws[:, 5:9]), ws[:, 5:9]
    distances = predicted_distances({k: v[None] for k, v in judge(ws).items()})
    square = {name: float(x[0, 0, 1]) ** 2 for name, x in distances.items()}
    a, b = view.part(0, 1), view.part(1, 2)
    assert a.code.equal(code[:1])
    only = LossWeights(landmarks=1, lpips=1, parts=1, code=0, radius=0, outliers=0)
    terms = {name: float(x) for name, x in quality(a, b, only).items()}
    assert terms["landmarks"] == pytest.approx(square["landmarks"], rel=1e-3)
    assert terms["lpips"] == pytest.approx(square["perceptual"], rel=1e-3)
    assert terms["parts"] == pytest.approx(square["parts"], rel=1e-3)
    cosine = float((a.identity * b.identity).sum())
    assert 1 - square["identity"] / 2 == pytest.approx(cosine, abs=1e-4)


def test_packed_weights_take_half_the_room_and_hardly_differ() -> None:
    weights = CodeJudge().state_dict()
    small = packed(weights)
    bytes_of = {k: v.numel() * v.element_size() for k, v in small.items()}
    assert sum(bytes_of.values()) < 0.27 * sum(v.numel() * 4 for v in weights.values())
    back = unpacked(small)
    assert back.keys() == weights.keys()
    for name, value in weights.items():
        assert (back[name] - value).abs().max() <= value.abs().max() / 253


def test_the_judge_that_ships_says_how_well_it_predicts() -> None:
    card, judge = judge_card(), load_judge()
    assert card["results"]["correlation identity"] > 0.9
    assert list(judge.config.layers) == card["settings"]["judge"]["layers"]


def test_a_file_that_holds_no_judge_is_explained(tmp_path: Path) -> None:
    judge, card = CodeJudge(SMALL), {"settings": {"judge": asdict(SMALL)}}
    file = tmp_path / "judge.safetensors"

    def refused() -> None:
        with pytest.raises(AssetError, match="judge of codes .*facersa train judge"):
            load_judge(file)

    refused()  # missing
    file.with_suffix(".json").write_text(json.dumps(card))
    refused()  # its weights are
    weights = save(packed(judge.state_dict()))
    file.write_bytes(weights)
    assert load_judge(file).config == SMALL
    assert load_judge(file).fingerprint != CodeJudge(SMALL).fingerprint
    assert load_judge(file).fingerprint == load_judge(file).fingerprint
    for damaged in (weights[:-1], b"", save({"other": torch.zeros(2)})):
        file.write_bytes(damaged)
        refused()
    file.write_bytes(weights)
    foreign: tuple[Any, ...] = ({"layers": "all"}, {"width": 0.5}, {"width": 12})
    for wrong in foreign:
        text = json.dumps({"settings": {"judge": asdict(SMALL) | wrong}})
        file.with_suffix(".json").write_text(text)
        refused()
    for text in ("{", "[]", "null", json.dumps({"settings": {"mapper": {}}})):
        file.with_suffix(".json").write_text(text)
        refused()
