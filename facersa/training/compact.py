"""Fit the table of bits of the compact code: how much each coefficient shows."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from facersa.generator.base import Generator
from facersa.generator.load import load_generator
from facersa.generator.statistics import WStatistics, cosine_basis
from facersa.judges.networks import IdentityJudge, load_identity, load_lpips
from facersa.people import FITTED, sample_stratum
from facersa.sealing.compact import CompactCode, make_compact, photo_widths


def visibility(
    generator: Generator, codes: Tensor, identity: IdentityJudge, perceptual: Any
) -> Tensor:
    """How much each coefficient shows: (rows, D), mean squared gradient.

    Of the training judge's embedding and of LPIPS features (normalised, as the
    distance uses them), each divided by its total, on the preview. The gradients are
    those of random projections, so their squares are right in the mean.

    Args:
        generator: paints previews, on the CPU.
        codes: (B, rows, D) people.
        identity: training judge.
        perceptual: the LPIPS module.
    """
    stats, rng = WStatistics.load(), torch.Generator().manual_seed(0)
    rows = codes.shape[1]
    basis = cosine_basis(rows)
    total = torch.zeros(2, rows, codes.shape[2])

    def projected(x: Tensor) -> Tensor:
        return (x * (torch.randint(2, x.shape, generator=rng) * 2 - 1)).sum()

    for ws in codes:
        coefficients = (basis @ stats.whiten(ws)).requires_grad_(True)
        picture = generator.preview(
            stats.unwhiten(basis.T @ coefficients).float()[None]
        )
        levels = perceptual.net(perceptual.scaling_layer(picture))
        features = [
            projected(x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt())
            / math.sqrt(x[0, 0].numel())
            for x in levels
        ]
        outputs = projected(identity.embed(picture)), torch.stack(features).sum()
        for index, output in enumerate(outputs):
            (gradient,) = torch.autograd.grad(output, coefficients, retain_graph=True)
            total[index] += gradient.square()
    return (total / total.sum((1, 2), keepdim=True)).sum(0)


def train_compact(num_bits: int) -> CompactCode:
    """Fit the shipped table again: half of 24 people in W, half row-mixed."""
    generator, half = load_generator(), 12
    first = FITTED.start + 10_000
    plain = sample_stratum(generator, "W", 0.85, half, first_seed=first)
    mixed = sample_stratum(generator, "row-mixed", 0.85, half, first_seed=first + 1000)
    codes = torch.cat([plain, mixed])
    shown = visibility(generator, codes, load_identity(), load_lpips("alex"))
    return make_compact(shown, photo_widths(*shown.shape), num_bits)
