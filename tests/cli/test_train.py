"""Tests of the command ``train``: what it runs, what it refuses, what it writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from facersa.cli.train import TASKS, TrainOptions
from facersa.training.loop import TrainConfig

Run = Callable[..., int]
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What was to be trained, and how; nothing is."""
    received: dict[str, Any] = {}

    def task(options: TrainOptions) -> tuple[str, TrainConfig]:
        received["options"] = options
        return "task", options.config(TrainConfig(steps=9, seed=7))

    def train(_: Any, config: TrainConfig, folder: Path, *, until: int) -> dict:
        received.update(config=config, folder=folder, until=until)
        return {"loss": 0.5}

    for name in TASKS:
        monkeypatch.setitem(TASKS, name, task)
    monkeypatch.setattr("facersa.training.loop.train", train)
    return received


def test_a_new_run_takes_its_options(
    tmp_path: Path, run: Run, started: dict[str, Any], capsys: Capture
) -> None:
    given = (
        "--cipher faithful --preset smoke --seed 3 --until 2 --bisenet b --generator g"
    )
    output = tmp_path / "run"
    assert run("train", "mapper", *given.split(), "-o", output) == 0
    options: TrainOptions = started["options"]
    assert (options.cipher, options.preset) == ("faithful", "smoke")
    assert (options.bisenet, options.generator) == ("b", "g")
    assert (started["config"].steps, started["config"].seed) == (9, 3)
    assert (started["folder"], started["until"]) == (output, 2)
    assert '"loss": 0.5' in capsys.readouterr().out


def test_a_run_without_options_has_the_presets(
    tmp_path: Path, run: Run, started: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("train", "mapper", "--steps", 4) == 0
    assert (started["options"].cipher, started["options"].preset) == ("ring", "cpu")
    assert (started["config"].steps, started["config"].seed) == (4, 7)
    assert started["folder"] == Path("runs/mapper")


def test_a_resumed_run_keeps_its_own(
    tmp_path: Path, run: Run, started: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").touch()
    stored = TrainConfig(steps=70, seed=8)
    monkeypatch.setattr("facersa.training.loop.stored_run", lambda _: (stored, {}))
    assert run("train", "encoder", "--resume", tmp_path) == 0
    assert started["config"] == stored


@pytest.mark.parametrize(
    ("call", "refused"),
    [
        ("head --cipher ring --bisenet b", "--cipher, --bisenet"),
        ("head --generator g", "--generator"),
        ("encoder --cipher ring", "--cipher"),
        ("mapper --weights w", "--weights"),
        ("judge --judge j --rounds 2", "--judge, --rounds"),
        ("mapper --cipher faithful --rounds 2 --steps 5 --judge j", "--steps, --judge"),
        ("rotation --steps 5 --seed 1", "--steps, --seed"),
        ("compact --device cpu", "--device"),
        ("mapper --resume {} --steps 5", "--steps"),
        ("mapper --resume {} --cipher ring --preset cpu", "--cipher, --preset"),
        ("mapper --resume {} --seed 1 -o out", "--seed, --output"),
    ],
)
def test_what_would_be_ignored_is_refused(
    call: str, refused: str, tmp_path: Path, run: Run, capsys: Capture
) -> None:
    assert run("train", *call.format(tmp_path).split()) == 2
    message = capsys.readouterr().err
    assert f"leave out {refused}; see" in message and len(message.splitlines()) == 1


def test_a_run_is_checked_before_the_work(
    tmp_path: Path, run: Run, capsys: Capture
) -> None:
    output = tmp_path / "run"
    assert run("train", "head", "--resume", output) == 1
    assert "--resume" in capsys.readouterr().err or not output.exists()
    if not torch.cuda.is_available():
        assert run("train", "head", "--device", "cuda", "-o", output) == 1
        assert "no CUDA device" in capsys.readouterr().err
    assert not output.exists()


def test_the_judge_of_codes_knows_one_generator_only(
    tmp_path: Path, run: Run, capsys: Capture
) -> None:
    how = ("--cipher", "faithful", "--generator", "g", "-o", tmp_path / "run")
    assert run("train", "mapper", *how) == 1
    assert "or use --preset gpu" in capsys.readouterr().err


def test_a_judge_of_ones_own_is_for_the_faithful_mapper(
    tmp_path: Path, run: Run, capsys: Capture
) -> None:
    own = ("--judge", tmp_path / "judge.safetensors", "-o", tmp_path / "run")
    assert run("train", "mapper", "--cipher", "ring", *own) == 1
    assert "leave out --judge" in capsys.readouterr().err
    assert run("train", "mapper", "--cipher", "faithful", *own) == 1
    assert "does not hold a judge of codes" in capsys.readouterr().err


def test_rounds_are_of_judges_and_faithful_mappers(
    tmp_path: Path, run: Run, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ((), ("--cipher", "faithful", "--preset", "gpu")):
        how = ("--rounds", 2, *wrong, "-o", tmp_path / "run")
        assert run("train", "mapper", *how) == 1
        assert "expects --cipher faithful" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    built = []

    def take_turns(judge: Any, mapper: Any, folder: Path, rounds: int) -> Path:
        judge(None), mapper(Path("j")), judge(Path("m"))
        return folder / f"mapper-{rounds}"

    def task(options: TrainOptions, pool: Path | None = None) -> None:
        built.append((options.weights, options.judge, pool))

    monkeypatch.setattr("facersa.training.rounds.take_turns", take_turns)
    monkeypatch.setattr("facersa.cli.train._judge", task)
    monkeypatch.setattr("facersa.cli.train._from_scratch", task)
    how = ("--cipher", "faithful", "--rounds", 2, "-o", tmp_path)
    assert run("train", "mapper", *how) == 0
    pool = tmp_path / "judge-1" / "pool"
    assert built == [(None, None, pool), (None, "j", None), ("m", None, pool)]
    assert capsys.readouterr().out == f"wrote {tmp_path / 'mapper-2'}\n"


@pytest.mark.slow
def test_the_head_trains_with_another_seed(tmp_path: Path, run: Run) -> None:
    output = tmp_path / "run"
    how = ("--preset", "smoke", "--steps", 2, "--seed", 3, "-o", output)
    assert run("train", "head", *how) == 0
    assert '"seed": 3' in (output / "preview_head.json").read_text()
