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
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn
from tqdm import tqdm

from facersa.checkpoints import flatten, load_state, save_state, unflatten
from facersa.errors import CheckpointError
from facersa.generator import PREVIEW_BLOCKS, Generator
from facersa.images import from_uint8, resize, to_uint8, write_atomic
from facersa.judges import IdentityJudge
from facersa.ops import haar_analysis
from facersa.rendering import Renderer

TRAIN_SEED = 1_000_000  # people below this number are never trained on


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

    steps: int = 1400
    batch: int = 4
    lr: float = 1e-3
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
        """What is trained."""

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


def train(
    task: Task, config: TrainConfig, folder: Path, *, progress: bool = True
) -> dict[str, float]:
    """Run ``task`` to the end, resuming whatever ``folder`` holds.

    Writes ``state*`` (checkpoints), ``log.jsonl`` and, at the end,
    ``{task.name}.safetensors`` with the averaged weights and a JSON card.

    Raises:
        CheckpointError: the folder belongs to another task or other settings.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task.prepare(config, folder)
    parameters = [p for p in task.module.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=config.lr, betas=(0.9, 0.99))
    average = {k: v.detach().clone() for k, v in task.module.state_dict().items()}
    start = _resume(task, config, folder, optimizer, average)
    log = _open_log(folder / "log.jsonl", start)
    bar = tqdm(
        range(start, config.steps),
        initial=start,
        total=config.steps,
        desc=f"train {task.name}",
        disable=not progress,
    )
    with log:
        for step in bar:
            for group in optimizer.param_groups:
                group["lr"] = config.lr * _schedule(step / config.steps)
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
            bar.set_postfix(loss=f"{loss.item():.4f}")
            if (step + 1) % config.save_every == 0 or step + 1 == config.steps:
                log.flush()
                _save(task, config, folder, step + 1, optimizer, average)
    task.module.load_state_dict(average)
    results = task.measure()
    weights = {name: value.half().contiguous() for name, value in average.items()}
    write_atomic(folder / f"{task.name}.safetensors", save(weights))
    card = {"task": task.name, "config": asdict(config), "results": results}
    card["versions"] = {"torch": torch.__version__}
    write_atomic(folder / f"{task.name}.json", json.dumps(card, indent=1).encode())
    return results


def _schedule(done: float) -> float:
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
    meta = {"task": task.name, "config": asdict(config), "layout": layout}
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
    if (meta["task"], meta["config"]) != (task.name, asdict(config)):
        raise CheckpointError(
            f"{folder} holds a {meta['task']} run with settings {meta['config']}; "
            "use the same settings or another folder."
        )
    state = unflatten(tensors, meta["layout"])
    task.module.load_state_dict(state["module"])
    optimizer.load_state_dict(state["optimizer"])
    for name, value in state["average"].items():
        average[name].copy_(value)
    return step


def varied_codes(generator: Generator, count: int, seed: int) -> Tensor:
    """Codes (count, 16, 512) of the kinds the package meets, one stream each.

    Half are one person in every row; a quarter mix two people at a random row;
    a quarter carry a small offset of their own in every row, as codes of
    photographs do. Truncation is uniform in [0.5, 1].
    """
    codes = []
    for index in range(count):
        rng = torch.Generator().manual_seed(seed + index)
        z = torch.randn(2 + generator.num_ws, generator.w_dim, generator=rng)
        kind, psi, cut = torch.rand(3, generator=rng).tolist()
        with torch.no_grad():
            w = generator.map(z.to(generator.w_avg.device))
        ws = generator.truncate(generator.broadcast(w[:1]), 0.5 + 0.5 * psi)
        if kind > 0.75:
            other = generator.truncate(generator.broadcast(w[1:2]), 0.5 + 0.5 * psi)
            row = 1 + int(cut * (generator.num_ws - 1))
            ws = torch.cat([ws[:, :row], other[:, row:]], dim=1)
        elif kind > 0.5:
            offsets = w[None, 2:] - generator.w_avg
            ws = ws + 0.3 * cut * offsets
        codes.append(ws)
    return torch.cat(codes)


def render_pool(
    generator: Generator, codes: Tensor, path: Path, *, progress: bool = True
) -> Tensor:
    """Full pictures of ``codes`` at 256 x 256, uint8 (N, 256, 256, 3), kept.

    Rendered in parts of 50 which are kept too, so a stopped run loses little.
    """
    renderer, parts = Renderer(generator), []
    starts = tqdm(
        range(0, len(codes), 50),
        desc="render",
        unit="50 pictures",
        disable=not progress,
    )
    for start in starts:
        part = path.with_name(f"{path.name}.{start:06d}.safetensors")
        chunk = codes[start : start + 50]
        if not part.exists():
            pictures = [to_uint8(resize(x, 256)) for x in renderer.stream(chunk)]
            pixels = torch.cat([torch.from_numpy(p) for p in pictures])
            write_atomic(part, save({"pixels": pixels, "codes": chunk.cpu()}))
        kept = load_file(part)
        if not torch.equal(kept["codes"], chunk.cpu()):
            raise CheckpointError(
                f"{part} belongs to other settings; use another folder or delete it."
            )
        parts.append(kept["pixels"])
    return torch.cat(parts)


class HeadTask:
    """Train the preview head: features of block 4 to the picture at 256 x 256.

    The loss is the mean square error, that of the half-size low band again
    (which is what a judge sees), and the identity distance to the full picture.

    Args:
        generator: frozen but for its head.
        judge: training judge of identity.
    """

    name = "preview_head"
    low_weight = 1.0
    identity_weight = 0.02

    def __init__(self, generator: Generator, judge: IdentityJudge) -> None:
        self.generator, self.judge = generator, judge
        self.module = generator.head.requires_grad_(True)
        # Ridge regression has found the best linear read; only the rest descends.
        self.module.linear.requires_grad_(False)

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Render the pool and set the linear part by ridge regression."""
        self.batch = config.batch
        self.codes = varied_codes(self.generator, config.pool, TRAIN_SEED + config.seed)
        self.pixels = render_pool(self.generator, self.codes, folder / "pool")
        if not (folder / "state").exists():
            self._fit_linear(min(48, config.pool))

    def inputs(self, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the head reads, without gradients."""
        with torch.no_grad():
            features = self.generator.synthesis.features(codes, PREVIEW_BLOCKS)
            return self.generator.head_inputs(features, codes)

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Of ``batch`` random members of the pool."""
        picked = torch.randint(len(self.codes), (self.batch,), generator=rng)
        codes = self.codes[picked]
        target = from_uint8(self.pixels[picked].numpy()).to(codes.device)
        picture = self.module(*self.inputs(codes))
        mse = F.mse_loss(picture, target)
        low = F.mse_loss(F.avg_pool2d(picture, 2), F.avg_pool2d(target, 2))
        cosine = (self.judge.embed(picture) * self.judge.embed(target)).sum(1).mean()
        loss = mse + self.low_weight * low + self.identity_weight * (1 - cosine)
        return loss, {"mse": mse.item(), "low": low.item(), "id_raw": cosine.item()}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Low-band R^2 and training-judge cosine on people never seen, at most 64."""
        count = min(64, len(self.codes))
        codes = varied_codes(self.generator, count, seed=0)
        renderer = Renderer(self.generator)
        cosines, errors, lows = [], [], []
        for code, full in zip(codes.split(1), renderer.stream(codes), strict=True):
            target = resize(full, 256)
            picture = self.module(*self.inputs(code))
            cosines.append((self.judge.embed(picture) * self.judge.embed(target)).sum())
            low = F.avg_pool2d(target, 2)
            errors.append((F.avg_pool2d(picture, 2) - low).square().mean())
            lows.append(low)
        total = torch.cat(lows).var(dim=(0, 2, 3)).mean()
        return {
            "people": float(count),
            "low_band_r2": float(1 - torch.stack(errors).mean() / total),
            "id_raw_mean": float(torch.stack(cosines).mean()),
            "id_raw_min": float(torch.stack(cosines).min()),
        }

    @torch.no_grad()
    def _fit_linear(self, count: int, ridge: float = 1e-3) -> None:
        """Least squares from features to Haar bands, on every fourth position."""
        gram: Tensor | float = 0.0
        cross: Tensor | float = 0.0
        for i in range(count):
            features, modulated, _ = self.inputs(self.codes[i : i + 1])
            x = torch.cat([features, modulated], 1)[..., ::4, ::4].flatten(2)[0].T
            x = torch.cat([x, x.new_ones(len(x), 1)], 1).double()
            target = from_uint8(self.pixels[i].numpy()).to(x.device)
            y = haar_analysis(target)[..., ::4, ::4].flatten(2)[0].T.double()
            gram, cross = gram + x.T @ x, cross + x.T @ y
        assert isinstance(gram, Tensor)
        scale = ridge * gram.diagonal().mean()
        eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        solution = torch.linalg.solve(gram + scale * eye, cross).float()
        weight, bias = self.module.linear.parameters()
        weight.copy_(solution[:-1].T[:, :, None, None])
        bias.copy_(solution[-1])
