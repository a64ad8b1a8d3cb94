"""Tests of training the judge of codes."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.training import judge
from facersa.training.distilled import SIZES, JudgeConfig, load_judge
from facersa.training.judge import JudgeTask, true_distances
from facersa.training.loop import TrainConfig, train
from facersa.training.losses import landmark_l2, parsing_divergence
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


def test_it_learns_and_what_ships_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = invented(256)
    monkeypatch.setattr(judge, "make_pool", lambda *_: None)
    monkeypatch.setattr(judge, "load_pool", lambda *_: pool)
    judged = SimpleNamespace(generator=SimpleNamespace(w_avg=torch.zeros(1)))

    def run(steps: int, folder: Path) -> dict[str, float]:
        task = JudgeTask(judged, SMALL, edits=4)  # type: ignore[arg-type]
        config = TrainConfig(steps=steps, batch=16, lr=3e-3, pool=256, ema=0.9)
        return train(task, config, folder, progress=False)

    before, after = run(1, tmp_path / "one"), run(150, tmp_path / "more")
    assert after["correlation identity"] > before["correlation identity"] + 0.1
    assert after["error identity"] < before["error identity"]
    product = load_judge(tmp_path / "more" / "judge.safetensors")
    assert product.config == SMALL and not product.training
    assert not any(p.requires_grad for p in product.parameters())
    assert not torch.equal(product.scale, torch.ones(len(SIZES)))
