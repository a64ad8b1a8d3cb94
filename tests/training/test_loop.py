"""Tests of the training loop and the preview head's task."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from facersa.errors import CheckpointError
from facersa.training.checkpoints import load_state, save_state
from facersa.training.loop import TrainConfig, _open_log, open_run, stored, train


class LineTask:
    """Fit a line: small enough to train many times."""

    name = "line"

    def __init__(self, stop_at: int | None = None) -> None:
        self.module = nn.Linear(3, 1)
        nn.init.zeros_(self.module.weight)
        nn.init.zeros_(self.module.bias)
        self.settings = {"line": (1, 2)}
        self.stop_at = stop_at

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        pass

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        if step == self.stop_at:
            raise KeyboardInterrupt
        x = torch.randn(16, 3, generator=rng)
        y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 3
        return (self.module(x) - y).square().mean(), {"number": float(step)}

    def measure(self) -> dict[str, float]:
        return {"bias": self.module.bias.item()}

    def shipped(self) -> dict[str, Tensor]:
        return stored(self.module)


CONFIG = TrainConfig(steps=60, batch=16, lr=0.2, ema=0.9, save_every=10)


def run(folder: Path, task: LineTask, config: TrainConfig = CONFIG) -> dict[str, float]:
    return train(task, config, folder, progress=False)


def test_the_loop_learns_and_leaves_weights_card_and_log(tmp_path: Path) -> None:
    results = run(tmp_path, LineTask())
    assert results["bias"] == pytest.approx(3, abs=0.2)
    weights = load_file(tmp_path / "line.safetensors")
    assert weights["weight"].dtype == torch.float16  # a matrix
    assert weights["bias"].item() == results["bias"]  # is not rounded
    card = json.loads((tmp_path / "line.json").read_text())
    assert card["results"] == results and card["config"]["steps"] == 60
    log = [json.loads(x) for x in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == list(range(60))
    assert log[-1]["loss"] < 0.01 * log[0]["loss"]


def test_a_stopped_run_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(whole, LineTask())
    for stop in (7, 23, 48):
        with pytest.raises(KeyboardInterrupt):
            run(parts, LineTask(stop_at=stop))
    run(parts, LineTask())
    for name in ("line.safetensors", "line.json", "log.jsonl"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


def test_a_run_may_end_early_and_go_on(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    run(whole, LineTask())
    train(LineTask(), CONFIG, parts, progress=False, until=35)
    card = json.loads((parts / "line.json").read_text())
    assert card["steps_done"] == 35 and card["config"]["steps"] == 60
    early = (parts / "line.safetensors").read_bytes()
    run(parts, LineTask())
    assert (parts / "line.safetensors").read_bytes() != early
    for name in ("line.safetensors", "line.json", "log.jsonl"):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


def test_another_run_s_folder_is_refused(tmp_path: Path) -> None:
    run(tmp_path, LineTask())

    class Prepared(LineTask):
        def prepare(self, config: TrainConfig, folder: Path) -> None:
            raise AssertionError("prepared, which can take hours")

    with pytest.raises(CheckpointError, match="another folder"):
        run(tmp_path, Prepared(), replace(CONFIG, lr=0.1))
    with pytest.raises(CheckpointError, match="--resume"):
        open_run(tmp_path, resume=False)
    with pytest.raises(CheckpointError, match="no run to resume"):
        open_run(tmp_path / "empty", resume=True)


def test_two_runs_in_one_folder_do_not_meet(tmp_path: Path) -> None:
    class Twice(LineTask):
        def prepare(self, config: TrainConfig, folder: Path) -> None:
            run(folder, LineTask())

    with pytest.raises(CheckpointError, match="a training is running in"):
        run(tmp_path, Twice())
    run(tmp_path, LineTask())


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": 3},
        {"optimizer": [{"params": 3}]},
        {"optimizer": []},
        {"weights": torch.zeros(1, 4)},
    ],
)
def test_a_state_that_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, Any]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, LineTask(stop_at=25))
    step, tensors, meta = load_state(tmp_path / "state")
    if "weights" in change:
        tensors["module.weight"] = change["weights"]
        change = {}
    save_state(tmp_path / "state", step, tensors, meta | change)
    with pytest.raises(CheckpointError, match="a run of another network"):
        run(tmp_path, LineTask())


@pytest.mark.parametrize("line", [b"3", b'{"step": "x"}', b"\xff", b"[" * 20_000])
def test_a_damaged_log_is_continued_from_its_whole_lines(
    tmp_path: Path, line: bytes
) -> None:
    whole = b'{"step": 1}\n'
    (tmp_path / "log.jsonl").write_bytes(whole + line + b"\n" + whole)
    _open_log(tmp_path / "log.jsonl", 5).close()
    assert (tmp_path / "log.jsonl").read_bytes() == whole


def test_a_diverging_run_stops_and_keeps_the_last_good_state(tmp_path: Path) -> None:
    class Broken(LineTask):
        def loss(self, step: int, rng: torch.Generator):  # type: ignore[no-untyped-def]
            loss, figures = super().loss(step, rng)
            return (loss * torch.nan if step == 25 else loss), figures

    with pytest.raises(CheckpointError, match="at step 25"):
        run(tmp_path, Broken())
    run(tmp_path, LineTask())  # goes on from step 20
    log = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(x)["step"] for x in log] == list(range(60))
