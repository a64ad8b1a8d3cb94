"""Tests of the training of the two learned systems."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file

from facersa.evaluation.baselines.learned import FitLike, RiddleLike, SmallConfig
from facersa.evaluation.baselines.teach import BASELINES, BaselineTask, single_codes
from facersa.generator.base import Generator
from facersa.training.distilled import CodeJudge, JudgeConfig
from facersa.training.loop import train
from facersa.training.recipes import SCRATCH

TINY = SmallConfig(axes=16, width=16, depth=2)


def test_the_budget_is_that_of_our_own_mapper() -> None:
    own = SCRATCH["cpu"][0]
    assert BASELINES["cpu"] == replace(own, save_every=250)


def test_codes_are_named_and_undone_as_each_system_does_it(
    any_ws: torch.Tensor,
) -> None:
    for system in (FitLike(TINY), RiddleLike(TINY)):
        rng = torch.Generator().manual_seed(1)
        codes, e = single_codes(system, any_ws, rng)
        assert set(codes) == {"I", "Ie1", "Ie2", "Ie1d'", "Ie1d1"}
        assert e.shape == (3, 16)
        sign = -1 if isinstance(system, FitLike) else 1
        assert torch.equal(codes["Ie1d1"], system(codes["Ie1"], sign * e))
        assert not torch.equal(codes["Ie1d1"], codes["Ie1d'"])


def test_a_run_is_repeatable_and_moves_both(
    generator: Generator, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    judge = CodeJudge(JudgeConfig(width=32, context=16)).eval().requires_grad_(False)
    config = replace(BASELINES["smoke"], pool=40)
    files = []
    for name in ("a", "b"):
        task = BaselineTask(judge, generator, TINY, seed=1)
        before = {k: v.clone() for k, v in task.both.state_dict().items()}
        figures = train(task, config, tmp_path / name, progress=False)
        assert {f"{s} curve {p}" for s in ("fit", "riddle") for p in "bcde"} == set(
            figures
        )
        files.append(load_file(tmp_path / name / "baselines.safetensors"))
        moved = {
            k.split(".")[0]
            for k, v in files[-1].items()
            if not torch.equal(v.float(), before[k].half().float())
        }
        assert moved == {"fit", "riddle"}
    assert all(torch.equal(files[0][k], files[1][k]) for k in files[0])
