"""One training loop for everything that is trained here, and its tasks.

A task owns the network, makes the loss of a numbered step and measures itself
on people it never trains on. Every random choice of a step comes from the pair
(seed, step), so a run that was stopped and resumed gives the same numbers as
one that was not. Checkpoints are whole or absent; the log is one JSON line per
report.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from facersa.errors import CheckpointError
from facersa.files import write_atomic
from facersa.training.checkpoints import flatten, load_state, save_state, unflatten


@dataclass(frozen=True)
class TrainConfig:
    """Knobs of one run.

    Attributes:
        steps: optimiser steps in all.
        batch: pictures a step.
        lr: peak learning rate; 5 % warm-up, then a cosine to zero.
        ema: decay of the averaged weights that are evaluated and shipped.
        pool: pictures rendered once at full size to learn from.
        save_every: steps between checkpoints.
        seed: of every random choice.
    """

    steps: int = 700
    batch: int = 4
    lr: float = 2e-3
    ema: float = 0.995
    pool: int = 1000
    save_every: int = 100
    seed: int = 0


PRESETS: Mapping[str, TrainConfig] = {
    "smoke": TrainConfig(steps=6, batch=2, pool=4, save_every=3),
    "cpu": TrainConfig(),
    "gpu": TrainConfig(steps=20_000, batch=16, pool=20_000, save_every=1000),
}


class Task(Protocol):
    """What the loop asks of a thing that can be trained."""

    name: str

    @property
    def module(self) -> nn.Module:
        """All that a checkpoint must hold; what needs a gradient is trained."""

    @property
    def product(self) -> nn.Module:
        """The part of ``module`` whose weights the run is made for."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What rebuilds the task, as JSON: kept with the run and in the card."""

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Make data and initial weights; called once, also when resuming."""

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss to minimise at ``step`` and figures for the log."""

    def measure(self) -> dict[str, float]:
        """Figures on people never trained on, with the module as it is."""


def open_run(folder: str | Path, *, resume: bool) -> Path:
    """The folder of a run, made if it is a new one.

    Raises:
        CheckpointError: nothing to resume there, or a run where a new one should
            start.
    """
    path = Path(folder)
    if (path / "state").exists() != resume:
        raise CheckpointError(
            f"{path} holds no run to go on with; start one with -o."
            if resume
            else f"{path} already holds a run; go on with --resume {path}, or use "
            "another folder."
        )
    path.mkdir(parents=True, exist_ok=True)
    return path


def stored_run(folder: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """Configuration and task settings of the run in ``folder``, to go on with it."""
    _, _, meta = load_state(folder / "state")
    try:
        return TrainConfig(**meta["config"]), meta["settings"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} was made by another version ({error}); start a new run."
        ) from error


def train(
    task: Task,
    config: TrainConfig,
    folder: Path,
    *,
    progress: bool = True,
    report: Callable[[dict[str, float]], None] | None = None,
    until: int | None = None,
) -> dict[str, float]:
    """Run ``task`` to the end, resuming whatever ``folder`` holds.

    Writes ``state*`` (checkpoints), ``log.jsonl`` and, at the end,
    ``{task.name}.safetensors`` with the averaged weights and a JSON card.
    ``report`` is called with the figures of every step, for live plots. ``until``
    ends the run after so many steps, short of ``config.steps``; the card says so.

    Raises:
        CheckpointError: the folder belongs to another task or other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task.prepare(config, folder)
    parameters = [p for p in task.module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=config.lr, betas=(0.9, 0.99))
    average = {k: v.detach().clone() for k, v in task.module.state_dict().items()}
    start = _resume(task, config, folder, optimizer, average)
    end = config.steps if until is None else max(start, min(until, config.steps))
    log = _open_log(folder / "log.jsonl", start)
    bar = tqdm(
        range(start, end),
        initial=start,
        total=end,
        desc=f"train {task.name}",
        disable=not progress,
    )
    with log:
        for step in bar:
            for group in optimizer.param_groups:
                group["lr"] = config.lr * schedule(step / config.steps)
            rng = torch.Generator().manual_seed(config.seed * 2**32 + step)
            loss, figures = task.loss(step, rng)
            if not torch.isfinite(loss):
                raise CheckpointError(
                    f"the loss is {loss.item()} at step {step}; lower the learning "
                    f"rate and resume from {folder}."
                )
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            _update_average(
                average, task.module, min(config.ema, (1 + step) / (10 + step))
            )
            figures = {"step": step, "loss": loss.item(), **figures}
            log.write(json.dumps(figures) + "\n")
            if report is not None:
                report(figures)
            bar.set_postfix(loss=f"{loss.item():.4f}")
            if (step + 1) % config.save_every == 0 or step + 1 == end:
                log.flush()
                _save(task, config, folder, step + 1, optimizer, average)
    kept = {k: rounded(v).float() for k, v in average.items()}
    task.module.load_state_dict(kept)
    results = task.measure()  # of what is shipped, rounding included
    weights = {k: rounded(v).contiguous() for k, v in task.product.state_dict().items()}
    write_atomic(folder / f"{task.name}.safetensors", save(weights))
    card = {
        "task": task.name,
        "config": asdict(config),
        "steps_done": end,
        "settings": _plain(task.settings),
        "results": results,
        "versions": {"torch": torch.__version__},
    }
    write_atomic(folder / f"{task.name}.json", json.dumps(card, indent=1).encode())
    return results


def rounded(value: Tensor) -> Tensor:
    """As files hold it: matrices in half precision; biases take little room."""
    return value.half() if value.ndim > 1 else value


def _plain(settings: Mapping[str, Any]) -> Any:
    """As JSON gives it back: tuples become lists."""
    return json.loads(json.dumps(settings))


def schedule(done: float) -> float:
    """Factor on the peak learning rate when a share ``done`` of the steps is done."""
    return min(done / 0.05 + 1e-2, 1.0, 0.5 + 0.5 * math.cos(math.pi * done))


@torch.no_grad()
def _update_average(
    average: dict[str, Tensor], module: nn.Module, decay: float
) -> None:
    for name, value in module.state_dict().items():
        average[name].lerp_(value, 1 - decay)


def _open_log(path: Path, start: int):  # type: ignore[no-untyped-def]
    kept: list[str] = []
    if path.exists():
        for line in path.read_text().splitlines():
            try:
                if json.loads(line)["step"] < start:
                    kept.append(line)
            except (json.JSONDecodeError, KeyError):
                break  # a line cut short by the stop
    write_atomic(path, "".join(line + "\n" for line in kept).encode())
    return path.open("a")


def _identity(task: Task, config: TrainConfig) -> dict[str, Any]:
    """What two runs must share for one to go on with the other's state."""
    settings = _plain(task.settings)
    return {"task": task.name, "config": asdict(config), "settings": settings}


def _save(
    task: Task,
    config: TrainConfig,
    folder: Path,
    step: int,
    optimizer: torch.optim.Optimizer,
    average: Mapping[str, Tensor],
) -> None:
    tensors, layout = flatten(
        {
            "module": dict(task.module.state_dict()),
            "average": dict(average),
            "optimizer": optimizer.state_dict(),
        }
    )
    meta = _identity(task, config) | {"layout": layout}
    save_state(folder / "state", step, tensors, meta)


def _resume(
    task: Task,
    config: TrainConfig,
    folder: Path,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> int:
    if not (folder / "state").exists():
        return 0
    step, tensors, meta = load_state(folder / "state")
    expected = _identity(task, config)
    for name, value in expected.items():
        if meta.get(name) != value:
            raise CheckpointError(
                f"{folder} holds a run with {name} {meta.get(name)}; use the same or "
                "another folder."
            )
    state = unflatten(tensors, meta["layout"])
    task.module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    for name, value in state["average"].items():
        average[name].copy_(value)
    return step
