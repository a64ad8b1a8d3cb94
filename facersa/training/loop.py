"""One training loop for everything that is trained here.

A task owns the network, computes the loss of a numbered step and measures itself on
people it never trains on. Every random choice of a step comes from the pair (seed,
step), so a run that was stopped and resumed gives the same numbers as one that was
not. The log holds one JSON line a step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import torch
from filelock import FileLock, Timeout
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

from facersa.errors import CheckpointError
from facersa.files import make_folder, write_atomic
from facersa.training.checkpoints import load_state, save_state

State = tuple[int, dict[str, Tensor], dict[str, Any]]  # as ``load_state`` gives it


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run, whatever is trained.

    Attributes:
        steps: optimiser steps in all.
        batch: people a step.
        lr: peak learning rate; 5 % warm-up, then a cosine to zero.
        ema: decay of the averaged weights that are evaluated and shipped.
        pool: people drawn before the first step, to train on.
        save_every: steps between checkpoints.
        seed: of the people and of every step. The initial weights are drawn when the
            task is built, from the seed that it is given: pass the same one.
    """

    steps: int = 700
    batch: int = 4
    lr: float = 2e-3
    ema: float = 0.995
    pool: int = 1000
    save_every: int = 100
    seed: int = 0


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights from ``seed``; the caller's random state stays as it was."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


class Task(Protocol):
    """What the loop asks of anything that is trained."""

    name: str

    @property
    def module(self) -> nn.Module:
        """All networks that a checkpoint holds; what requires gradients is trained."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """What rebuilds the task, as JSON: stored in checkpoints and in the card."""

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Draw the data and fit what has a closed form; also called when resuming."""

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss to minimise at ``step``, and figures for the log."""

    def measure(self) -> dict[str, float]:
        """Figures on people never trained on, with the present weights."""

    def shipped(self) -> dict[str, Tensor]:
        """The weights that the run writes at its end; mostly ``stored``."""


def open_run(folder: str | Path, *, resume: bool) -> Path:
    """The folder of a run, created for a new one.

    Raises:
        CheckpointError: there is nothing to resume, or a new run would overwrite one.
        FileError: the folder cannot be made.
    """
    path = Path(folder)
    if (path / "state").exists() != resume:
        raise CheckpointError(
            f"{path} holds no run to resume; start a new one with -o."
            if resume
            else f"{path} already holds a run; continue it with --resume {path}, or "
            "use another folder."
        )
    return make_folder(path)


def stored_run(folder: Path) -> tuple[TrainConfig, dict[str, Any]]:
    """Configuration and task settings of the run in ``folder``, to resume it."""
    _, _, meta = load_state(folder / "state")
    try:
        return TrainConfig(**meta["config"]), meta["settings"]
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} was written by another version ({error}); start a new run."
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

    Writes ``state`` (the checkpoint), ``log.jsonl`` and, at the end,
    ``{task.name}.safetensors`` with the averaged weights and, beside it, a JSON card.

    Args:
        task: what is trained.
        config: settings of the run.
        folder: where all of it is written.
        progress: show a bar.
        report: called with the figures of every step, for live plots.
        until: stop after this step, before ``config.steps``; the card says so.

    Returns:
        What ``task.measure`` gives at the end.

    Raises:
        CheckpointError: the folder belongs to another task or other settings, another
            run goes on there, or the loss is not finite.
    """
    make_folder(folder)
    with _alone(folder):
        saved = _saved(task, config, folder)  # refused here, not after the preparation
        task.prepare(config, folder)
        parameters = [p for p in task.module.parameters() if p.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=config.lr, betas=(0.9, 0.99))
        average = {k: v.detach().clone() for k, v in task.module.state_dict().items()}
        start = _resume(task, folder, saved, optimizer, average) if saved else 0
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
                        f"the loss is {loss.item()} at step {step}; start a new run "
                        "with another --seed, or in Python with a lower lr "
                        f"({folder} holds the last good state)."
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
        task.module.load_state_dict({k: rounded(v).float() for k, v in average.items()})
        results = task.measure()  # of what is written, rounding included
        write_atomic(folder / f"{task.name}.safetensors", save(task.shipped()))
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


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two runs in one folder would delete each other's checkpoints."""
    try:
        with FileLock(folder / ".lock", timeout=0):
            yield
    except Timeout as error:
        raise CheckpointError(
            f"a training is running in {folder}; wait for it, or use another folder."
        ) from error


def rounded(value: Tensor) -> Tensor:
    """As files hold it: matrices in half precision, biases in single."""
    return value.half() if value.ndim > 1 else value


def stored(module: nn.Module) -> dict[str, Tensor]:
    """The weights of a module as files hold them."""
    return {k: rounded(v).contiguous() for k, v in module.state_dict().items()}


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


def _open_log(path: Path, start: int) -> TextIO:
    """The log, without steps from ``start`` on, which will be done again."""
    lines: list[str] = []
    text = path.read_text(errors="replace") if path.exists() else ""
    for line in text.splitlines():
        try:
            if json.loads(line)["step"] < start:
                lines.append(line + "\n")
        except (ValueError, LookupError, TypeError, RecursionError):
            break  # a line cut short by the stop
    write_atomic(path, "".join(lines).encode())
    return path.open("a")


def _identity(task: Task, config: TrainConfig) -> dict[str, Any]:
    """What two runs must share for one to continue from the other's state."""
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
    state = optimizer.state_dict()
    tensors = {f"module.{name}": v for name, v in task.module.state_dict().items()}
    tensors |= {f"average.{name}": v for name, v in average.items()}
    for index, values in state["state"].items():
        tensors |= {f"optimizer.{index}.{name}": v for name, v in values.items()}
    meta = _identity(task, config) | {"optimizer": state["param_groups"]}
    save_state(folder / "state", step, tensors, meta)


def _saved(task: Task, config: TrainConfig, folder: Path) -> State | None:
    """What ``folder`` holds, if it is of this task and these settings."""
    if not (folder / "state").exists():
        return None
    saved = load_state(folder / "state")
    for name, value in _identity(task, config).items():
        if saved[2].get(name) != value:
            raise CheckpointError(
                f"{folder} holds a run with {name} {saved[2].get(name)}, expected "
                f"{value}; use the same settings or another folder."
            )
    return saved


def _resume(
    task: Task,
    folder: Path,
    saved: State,
    optimizer: torch.optim.Optimizer,
    average: dict[str, Tensor],
) -> int:
    step, tensors, meta = saved

    def part(prefix: str) -> dict[str, Tensor]:
        names = (name for name in tensors if name.startswith(prefix))
        return {name.removeprefix(prefix): tensors[name] for name in names}

    try:
        task.module.load_state_dict(part("module."))
        for name, value in part("average.").items():
            average[name].copy_(value)
        groups = meta["optimizer"]
        states = {i: part(f"optimizer.{i}.") for g in groups for i in g["params"]}
        optimizer.load_state_dict({"state": states, "param_groups": groups})
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{folder} holds a run of another network ({reason}); use another folder."
        ) from error
    return step
