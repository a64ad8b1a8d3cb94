"""Judge of codes and mapper by turns: each learns from what the other has become.

The first judge learns from random edits, and the first mapper from that judge. But a
mapper goes where the judge has seen little. So the second judge also sees what the
first mapper does, and the second mapper learns from it, from random weights again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from facersa.errors import CheckpointError
from facersa.training.loop import Task, TrainConfig, train

# A task and its configuration, given the weights that it learns from.
Build = Callable[[Path | None], tuple[Task, TrainConfig]]


def take_turns(
    judge: Build, mapper: Build, folder: Path, rounds: int, *, progress: bool = True
) -> Path:
    """Train judge and mapper in turn; what ``folder`` holds is not done again.

    Args:
        judge: builds the task of a judge, from the last mapper's weights or None.
        mapper: builds the task of a mapper, from the last judge's weights.
        folder: of all runs, called "judge-1", "mapper-1", "judge-2" and so on.
        rounds: of one judge and one mapper.
        progress: show bars.

    Returns:
        The last mapper's weights.

    Raises:
        CheckpointError: a finished run there has other settings.
    """
    weights: Path | None = None
    for number in range(1, rounds + 1):
        for name, build in (("judge", judge), ("mapper", mapper)):
            place = folder / f"{name}-{number}"
            weights = _trained(build, weights, place, progress=progress)
    if weights is None:
        raise ValueError(f"expected 1 round or more, got {rounds}.")
    return weights


def _trained(
    build: Build, learns_from: Path | None, folder: Path, *, progress: bool
) -> Path:
    task, config = build(learns_from)
    weights = folder / f"{task.name}.safetensors"
    card = weights.with_suffix(".json")
    if not card.exists():
        train(task, config, folder, progress=progress)
    elif json.loads(card.read_bytes())["config"] != asdict(config):
        raise CheckpointError(
            f"{folder} holds a run of other settings; use another folder."
        )
    return weights
