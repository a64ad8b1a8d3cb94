"""Tests of judge and mapper by turns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from facersa.errors import CheckpointError
from facersa.training.loop import TrainConfig, stored
from facersa.training.rounds import take_turns

CONFIG = TrainConfig(steps=2, batch=1, pool=2, save_every=1)


class Small:
    """A task that learns nothing, from another's weights."""

    def __init__(self, name: str, learns_from: Path | None) -> None:
        self.name, self.settings = name, {"from": learns_from and learns_from.name}
        self.module = nn.Linear(2, 2)

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Nothing to draw."""

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Of one random input."""
        return self.module(torch.randn(1, 2, generator=rng)).square().sum(), {}

    def measure(self) -> dict[str, float]:
        """Nothing."""
        return {}

    def shipped(self) -> dict[str, Tensor]:
        """All of it."""
        return stored(self.module)


def test_each_learns_from_the_other_and_a_stopped_turn_goes_on(tmp_path: Path) -> None:
    built: list[tuple[str, Path | None]] = []
    config = CONFIG

    def build(name: str, learns_from: Path | None) -> tuple[Small, TrainConfig]:
        if stop == len(built):
            raise KeyboardInterrupt
        built.append((name, learns_from))
        return Small(name, learns_from), config

    def turns() -> Path:
        def judge(path: Path | None) -> tuple[Small, TrainConfig]:
            return build("judge", path)

        def mapper(path: Path | None) -> tuple[Small, TrainConfig]:
            return build("mapper", path)

        return take_turns(judge, mapper, tmp_path, 2, progress=False)

    stop = 3
    with pytest.raises(KeyboardInterrupt):
        turns()
    first = tmp_path / "judge-1" / "judge.safetensors"
    before, stop = first.stat().st_mtime_ns, -1
    built.clear()
    last = turns()
    assert last == tmp_path / "mapper-2" / "mapper.safetensors" and last.exists()
    assert first.stat().st_mtime_ns == before  # not trained again
    assert built == [
        ("judge", None),
        ("mapper", first),
        ("judge", tmp_path / "mapper-1" / "mapper.safetensors"),
        ("mapper", tmp_path / "judge-2" / "judge.safetensors"),
    ]
    config = replace(CONFIG, steps=3)
    with pytest.raises(CheckpointError, match="judge-1 holds a run of other settings"):
        turns()


def test_no_round_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 round or more, got 0"):
        take_turns(None, None, tmp_path, 0)  # type: ignore[arg-type]
