"""Photograph to W+ code: inversion by optimisation, through the preview.

The search uses whitened coordinates, in which w has the same variance in every
direction. From an encoder's guess it refines all rows at once. Without one it has two
stages: first one code for all rows (W, the space the generator was trained on), then
a small offset per row (W+). The offsets are held near zero, because codes far from W
cannot be edited well (Tov et al. 2021). The loss weights are those of E2Style and e4e:
pixel L2 1, LPIPS 0.8, identity 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from tqdm import tqdm

from facersa.errors import ImageError
from facersa.generator.base import PREVIEW_SIDE, Generator
from facersa.generator.statistics import WStatistics
from facersa.ops import check_shape
from facersa.photo.images import resize

COOLING = 0.25  # last share of the steps, in which the step size falls
START_PSI = 0.7  # truncation of the random people that a search may start from


@dataclass(frozen=True)
class ProjectConfig:
    """Settings of ``project``.

    Attributes:
        steps: optimiser steps at most; the first ``w_share`` of them in W, where the
            search starts from nothing.
        candidates: random people, the best of whom is the start if there is no guess.
        patience: steps without progress after which the last share of them begins.
        progress: relative fall of the loss over ``patience`` steps that counts as one.
        lr: step size in whitened units, warmed up and cooled down.
        pixel, lpips, identity: weights of the three likeness terms.
        rounded_share: last share of the steps, which use the rounded code.
        prior: weight of the mean square of the shared whitened code.
        offset: weight of the mean square of the whitened per-row offsets.
        face_weight: weight of a pixel on the face, relative to one at the border.
    """

    steps: int = 60
    w_share: float = 0.4
    rounded_share: float = 0.35
    candidates: int = 48
    patience: int = 25
    progress: float = 0.01
    lr: float = 0.06
    pixel: float = 1.0
    lpips: float = 0.8
    identity: float = 0.5
    prior: float = 0.02
    offset: float = 0.4
    face_weight: float = 4.0


def project_config(steps: int | None) -> ProjectConfig:
    """The default search, or one of ``steps`` steps; 0 is the encoder alone.

    Raises:
        ImageError: a negative number.
    """
    default = ProjectConfig()
    if steps is None:
        return default
    if steps < 0:
        raise ImageError(
            f"an inversion has 0 steps (the encoder alone) or more, got {steps}."
        )
    return replace(default, steps=steps, candidates=min(default.candidates, steps))


@dataclass(frozen=True)
class Projection:
    """The result of ``project``.

    Attributes:
        ws: (1, num_ws, w_dim) code, float32.
        history: one dictionary of loss terms per step.
    """

    ws: Tensor
    history: list[dict[str, float]]


def project(
    generator: Generator,
    image: Tensor,
    *,
    perceptual: Callable[[Tensor, Tensor], Tensor],
    embed: Callable[[Tensor], Tensor],
    config: ProjectConfig = ProjectConfig(),  # noqa: B008 - frozen
    start: Tensor | None = None,
    through: Callable[[Tensor], Tensor] | None = None,
    rounded: Callable[[Tensor], Tensor] | None = None,
    progress: bool = True,
) -> Projection:
    """Find the code whose picture looks like an aligned photograph.

    Args:
        generator: paints the previews that are compared.
        image: (1, 3, R, R) aligned face in [-1, 1], any R.
        perceptual: LPIPS of two (B, 3, 256, 256) batches, a tensor of B values.
        embed: the training identity judge's embedding, (B, 512) of length one.
        config: weights and number of steps.
        start: (1, num_ws, w_dim) an encoder's guess to refine, if there is one.
        through: applied to a code before it is painted. With an encryption, the result
            is the code whose encryption looks like the photograph.
        rounded: takes codes (1, num_ws, w_dim) to the nearest that can be stored. The
            last steps paint the rounded code and move the one before rounding (a
            straight-through gradient), which corrects errors of rounding; the best
            rounded code is returned.
        progress: show a bar.

    Raises:
        ValueError: more than one picture, or not square RGB.
    """
    side = image.shape[-1]
    check_shape(image, 1, 3, side, side, name="image")
    target = resize(image, PREVIEW_SIDE)
    target_identity = embed(target).detach()
    importance = _importance(config.face_weight).to(target.device)
    statistics = WStatistics.of(generator, progress=progress).to(target.device)

    def codes(z: Tensor) -> Tensor:
        return statistics.unwhiten(z).float()

    def likeness(ws: Tensor) -> dict[str, Tensor]:
        preview = generator.preview(ws if through is None else through(ws))
        picture = resize(preview, PREVIEW_SIDE)  # that of a small generator is smaller
        return {
            "pixel": (importance * (picture - target).square()).mean(),
            "lpips": perceptual(picture, target).mean(),
            "identity": 1 - (embed(picture) * target_identity).sum(),
        }

    def weighted(terms: dict[str, Tensor]) -> Tensor:
        return torch.stack([getattr(config, k) * v for k, v in terms.items()]).sum()

    if start is None:
        shared = _best_start(
            generator.w_dim,
            config.candidates,
            lambda z: weighted(likeness(generator.broadcast(codes(z.to(target))))),
            progress,
        ).to(target)
        offsets = torch.zeros(1, generator.num_ws, generator.w_dim).to(target)
    else:
        check_shape(start, 1, generator.num_ws, generator.w_dim, name="start")
        z = statistics.whiten(start.to(target)).float()
        shared, offsets = z.mean(1), z - z.mean(1, keepdim=True)
    shared.requires_grad_(True)
    offsets.requires_grad_(True)
    optimizer = torch.optim.Adam([shared, offsets], betas=(0.9, 0.95))
    history: list[dict[str, float]] = []
    losses: list[float] = []
    best_score, best = math.inf, torch.empty(0)  # of the rounded codes
    ending = round(config.steps * (1 - (config.rounded_share if rounded else COOLING)))
    ending = min(ending, config.steps - 1)
    bar = tqdm(total=config.steps, desc="invert", disable=not progress)
    step = 0
    while step < config.steps:
        free = start is not None or step >= config.w_share * config.steps
        if free and step < ending and _stalled(losses, config):
            bar.update(ending - step)
            step = ending
        done = step / config.steps
        for group in optimizer.param_groups:
            group["lr"] = config.lr * _schedule(done)
        ws = codes(shared[:, None] + (offsets if free else offsets.detach()))
        rounding = rounded if step >= ending else None
        if rounding is not None:
            ws = ws + (rounding(ws.detach()) - ws).detach()
        terms = likeness(ws)
        score = weighted(terms).item()
        if rounding is not None and score < best_score:
            best_score, best = score, ws.detach().clone()
        terms |= {"prior": shared.square().mean(), "offset": offsets.square().mean()}
        loss = weighted(terms)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        figures = {name: value.item() for name, value in terms.items()}
        history.append(figures)
        if free:
            losses.append(loss.item())
        bar.update()
        bar.set_postfix(
            lpips=f"{figures['lpips']:.3f}", id=f"{1 - figures['identity']:.3f}"
        )
        step += 1
    bar.close()
    if rounded is not None:
        return Projection(rounded(best), history)
    return Projection(codes(shared[:, None] + offsets).detach(), history)


def _stalled(losses: list[float], config: ProjectConfig) -> bool:
    """Whether the last ``patience`` steps made no progress over those before."""
    count = config.patience
    if len(losses) < 2 * count:
        return False
    before, now = sum(losses[-2 * count : -count]), sum(losses[-count:])
    return now > (1 - config.progress) * before


@torch.no_grad()
def _best_start(
    size: int, candidates: int, loss: Callable[[Tensor], Tensor], show: bool
) -> Tensor:
    """The whitened code (1, size) of least loss, among the mean and random people."""
    rng = torch.Generator().manual_seed(0)
    people = START_PSI * torch.randn(candidates, size, generator=rng)
    codes = torch.cat([torch.zeros(1, size), people]).split(1)
    bar = tqdm(codes, desc="choose a start", disable=not show)
    return min(bar, key=lambda z: float(loss(z))).clone()


def _schedule(done: float) -> float:
    warm = min(1.0, done / 0.05 + 0.05)
    cool = min(1.0, (1 - done) / COOLING)
    return warm * (0.5 - 0.5 * math.cos(math.pi * cool))


def _importance(face_weight: float) -> Tensor:
    """(1, 1, 256, 256) weights of mean one: a soft ellipse over the face."""
    axis = torch.linspace(-1, 1, PREVIEW_SIDE)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    inside = torch.sigmoid(12 * (1 - ((x / 0.62) ** 2 + ((y - 0.05) / 0.75) ** 2)))
    weight = 1 + (face_weight - 1) * inside
    return (weight / weight.mean())[None, None]
