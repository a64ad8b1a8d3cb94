"""Tests of the ablation of the paper's mapper."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from facersa.cipher.modulation import MapperConfig
from facersa.errors import CheckpointError, FaceRSAError
from facersa.evaluation import ablation
from facersa.evaluation.ablation import VARIANTS, ablate, varied
from facersa.evaluation.results import table, value
from facersa.generator.base import Generator
from facersa.training.distilled import CodeJudge, JudgeConfig
from facersa.training.loop import TrainConfig
from facersa.training.recipes import scratch_preset
from facersa.training.scratch import CURVES


def test_variants_are_one_change_each() -> None:
    recipe = scratch_preset("cpu")[1]
    made = {name: varied(recipe, changes) for name, changes in VARIANTS.items()}
    assert made["all losses"] == recipe
    assert len({json.dumps(asdict(x), default=str) for x in made.values()}) == len(made)
    for name, changes in VARIANTS.items():
        expected = 2 if ", with" in name else 1
        assert len(changes) == (0 if name == "all losses" else expected)
        MapperConfig(**made[name].options)
    published = MapperConfig(**made["as published"].options)
    assert published == MapperConfig.published()
    assert made["without landmarks"].weights == replace(recipe.weights, landmarks=0.0)


@pytest.mark.parametrize("numbers", [{"steps": 0}, {"seeds": 0}])
def test_no_training_is_no_ablation(
    generator: Generator, tmp_path: Path, numbers: dict[str, int]
) -> None:
    judge = CodeJudge(JudgeConfig(width=32, context=16))
    with pytest.raises(FaceRSAError, match="leave --steps and --seeds out"):
        ablate(generator, judge, tmp_path, **numbers)
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_a_small_run_from_end_to_end(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = TrainConfig(steps=2, batch=2, lr=1e-3)
    recipe = scratch_preset("smoke")[1]
    monkeypatch.setattr(ablation, "scratch_preset", lambda _: (small, recipe))
    torch.manual_seed(0)
    judge = CodeJudge(JudgeConfig(width=32, context=16)).eval().requires_grad_(False)
    few = {name: VARIANTS[name] for name in ("all losses", "without L_asso")}

    def run() -> dict[str, object]:
        return ablate(
            generator,
            judge,
            tmp_path,
            steps=2,
            n=2,
            variants=few,
            seeds=2,
            progress=False,
        )

    result = run()
    assert len(list(tmp_path.iterdir())) == 4  # two seeds of each
    stored = json.loads(json.dumps(result))
    assert stored["curves"]["all losses"][1][0]["step"] == 0
    assert [len(means) for means in stored["seeds"].values()] == [2, 2]
    for prop in CURVES:
        row = value(stored, prop, "all losses", "id_raw", "train")
        assert row.n == 4 and -1 <= row.low <= row.mean <= row.high <= 1.001
        assert value(stored, prop, "without L_asso", "id_raw", "train").n == 4
    assert value(stored, "c", "all losses", "lpips").mean >= 0
    assert "(h)" in table(stored)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(ablation, "train", refuse)
    assert run() == result
    another = replace(recipe, pairs=3)
    monkeypatch.setattr(ablation, "scratch_preset", lambda _: (small, another))
    with pytest.raises(CheckpointError, match="another recipe; use another folder"):
        run()
