"""Tests of the judge of codes and its training."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

from facersa.errors import AssetError
from facersa.training import distilled
from facersa.training.distilled import (
    SIZES,
    CodeJudge,
    JudgeConfig,
    JudgeTask,
    judge_card,
    load_judge,
    packed,
    predicted_distances,
    true_distances,
    unpacked,
)
from facersa.training.loop import TrainConfig, train
from facersa.training.losses import (
    LossWeights,
    landmark_l2,
    parsing_divergence,
    quality,
)
from facersa.training.pool import FIELDS

SMALL = JudgeConfig(width=48, context=16, depth=1, dropout=0.0)


def invented(people: int, codes: int = 5) -> dict[str, Tensor]:
    """A pool whose answers are smooth functions of the rows."""
    ws = 0.4 * torch.randn(people, 16, 512)
    rows = ws[:, None, 5:9] + 0.4 * torch.randn(people, codes, 1, 512)
    seen = torch.tanh(rows.mean(2)[..., :64])
    parts = F.softmax(seen[..., :48].reshape(people, codes, 12, 2, 2), 2)
    return {
        "ws": ws,
        "rows": rows,
        "identity": F.normalize(seen, dim=-1),
        "landmarks": 0.01 * seen.unflatten(-1, (32, 2)),
        "picture": seen[..., :48].unflatten(-1, (3, 4, 4)),
        "perceptual": 0.1 * seen,
        "parts": parts,
    }


def test_true_distances_are_those_of_the_losses() -> None:
    pool = invented(2)
    pool["landmarks"] = torch.randn(2, 5, 68, 2)
    found = true_distances({name: pool[name] for name in FIELDS})
    assert set(found) == set(SIZES) and found["identity"].shape == (2, 5, 5)

    def pair(name: str) -> tuple[Tensor, Tensor]:
        return pool[name][1, 2:3], pool[name][1, 4:5]

    square = {name: float(x[1, 2, 4]) ** 2 for name, x in found.items()}
    cosine = F.cosine_similarity(*pair("identity"))
    assert 1 - square["identity"] / 2 == pytest.approx(float(cosine), abs=1e-4)
    expected = float(landmark_l2(*pair("landmarks")))
    assert square["landmarks"] == pytest.approx(expected, rel=1e-3)
    expected = float(F.mse_loss(*pair("picture")))
    assert square["picture"] == pytest.approx(expected, rel=1e-3)
    a, b = pair("parts")
    expected = float(parsing_divergence(a, b) + parsing_divergence(b, a)) / 2
    assert square["parts"] == pytest.approx(expected, rel=1e-2)


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


def test_it_learns_and_what_ships_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = invented(256)
    monkeypatch.setattr(distilled, "make_pool", lambda *_: None)
    monkeypatch.setattr(distilled, "load_pool", lambda *_: pool)
    judged = SimpleNamespace(generator=SimpleNamespace(w_avg=torch.zeros(1)))

    def run(steps: int, folder: Path) -> dict[str, float]:
        task = JudgeTask(judged, SMALL, edits=4)  # type: ignore[arg-type]
        config = TrainConfig(steps=steps, batch=16, lr=3e-3, pool=256, ema=0.9)
        return train(task, config, folder, progress=False)

    before, after = run(1, tmp_path / "one"), run(150, tmp_path / "more")
    assert after["correlation identity"] > before["correlation identity"] + 0.1
    assert after["error identity"] < before["error identity"]
    judge = load_judge(tmp_path / "more" / "judge.safetensors")
    assert judge.config == SMALL and not judge.training
    assert not any(p.requires_grad for p in judge.parameters())
    assert not torch.equal(judge.scale, torch.ones(len(SIZES)))


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
