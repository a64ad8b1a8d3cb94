"""Photograph to W+ code: inversion by optimisation, through the preview.

The search moves in whitened coordinates, where one step means the same in
every direction, and goes in two stages: first one code for all rows (W, the
space the generator was trained on), then a small offset per row (W+). The
offsets are held near zero, because codes far from W cannot be edited well
(Tov et al. 2021). Related published weights (E2Style, e4e): pixel L2 1,
LPIPS 0.8, identity 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from facersa.generator import Generator, shipped_weights
from facersa.images import resize
from facersa.ops import check_shape

PREVIEW_SIDE = 256


@dataclass(frozen=True)
class ProjectConfig:
    """Knobs of ``project``.

    Attributes:
        steps: optimiser steps in all; the first ``w_share`` of them in W.
        lr: step size in whitened units, warmed up and cooled down.
        pixel, lpips, identity: weights of the three likeness terms.
        prior: weight of the mean square of the shared whitened code.
        offset: weight of the mean square of the whitened per-row offsets.
        face_weight: how much more a pixel in the middle of the crop counts.
    """

    steps: int = 260
    w_share: float = 0.35
    lr: float = 0.06
    pixel: float = 1.0
    lpips: float = 0.8
    identity: float = 0.5
    prior: float = 0.02
    offset: float = 0.1
    face_weight: float = 4.0


@dataclass(frozen=True)
class Projection:
    """What ``project`` found.

    Attributes:
        ws: (1, 16, 512) code, float32.
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
    progress: bool = True,
) -> Projection:
    """Find the code whose picture looks like an aligned photograph.

    Args:
        generator: with a trained preview head.
        image: (1, 3, R, R) aligned face in [-1, 1], any R.
        perceptual: LPIPS of two (B, 3, 256, 256) batches, a tensor of B values.
        embed: the training identity judge's embedding, (B, 512) of length one.
        config: weights and number of steps.
        progress: show a bar.

    Raises:
        ValueError: more than one picture, or not square RGB.
    """
    side = image.shape[-1]
    check_shape(image, 1, 3, side, side, name="image")
    target = resize(image, PREVIEW_SIDE)
    wanted = embed(target).detach()
    importance = _importance(config.face_weight).to(target.device)
    axes = _WhitenedAxes(generator)
    shared = torch.zeros(1, generator.w_dim, device=target.device, requires_grad=True)
    offsets = torch.zeros(
        1, generator.num_ws, generator.w_dim, device=target.device, requires_grad=True
    )
    optimizer = torch.optim.Adam([shared, offsets], betas=(0.9, 0.95))
    history: list[dict[str, float]] = []
    bar = tqdm(range(config.steps), desc="invert", disable=not progress)
    for step in bar:
        done = step / config.steps
        for group in optimizer.param_groups:
            group["lr"] = config.lr * _schedule(done)
        free = done >= config.w_share
        ws = axes.unwhiten(shared[:, None] + (offsets if free else offsets.detach()))
        picture = generator.preview(ws)
        terms = {
            "pixel": (importance * (picture - target).square()).mean(),
            "lpips": perceptual(picture, target).mean(),
            "identity": 1 - (embed(picture) * wanted).sum(),
            "prior": shared.square().mean(),
            "offset": offsets.square().mean(),
        }
        loss = torch.stack([getattr(config, k) * v for k, v in terms.items()]).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        figures = {name: value.item() for name, value in terms.items()}
        history.append(figures)
        bar.set_postfix(
            lpips=f"{figures['lpips']:.3f}", id=f"{1 - figures['identity']:.3f}"
        )
    with torch.no_grad():
        ws = axes.unwhiten(shared[:, None] + offsets)
    return Projection(ws.detach(), history)


class _WhitenedAxes:
    """Whitened coordinates to w, in float32 on the generator's device."""

    def __init__(self, generator: Generator) -> None:
        stats = shipped_weights("w_stats.safetensors")
        device = generator.w_avg.device
        scaled = stats["eigenvectors"] * stats["eigenvalues"].sqrt()
        self.mean, self.basis = stats["mean"].to(device), scaled.T.to(device)

    def unwhiten(self, z: Tensor) -> Tensor:
        return self.mean + z @ self.basis


def _schedule(done: float) -> float:
    warm = min(1.0, done / 0.05 + 0.05)
    cool = min(1.0, (1 - done) / 0.25)
    return warm * (0.5 - 0.5 * math.cos(math.pi * cool))


def _importance(face_weight: float) -> Tensor:
    """(1, 1, 256, 256) weights of mean one: a soft ellipse over the face."""
    axis = torch.linspace(-1, 1, PREVIEW_SIDE)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    inside = torch.sigmoid(12 * (1 - ((x / 0.62) ** 2 + ((y - 0.05) / 0.75) ** 2)))
    weight = 1 + (face_weight - 1) * inside
    return (weight / weight.mean())[None, None]
