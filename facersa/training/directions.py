"""Which directions of the edited rows change who somebody is, and little else.

At the codes of many people the slopes of three things are taken along random
mixtures: of the identity vector, of the landmarks and of the picture's pixels. The
directions along which identity changes most, for what the other two change and for
how unusual the step is, solve a generalised eigenvalue problem. Nothing is trained.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from facersa.cipher.ring import RingMapper
from facersa.generator.base import Generator
from facersa.judges.networks import IdentityJudge, Landmarks

SIDE = 64  # of the picture whose pixels should stay

PART = 4  # people painted at once


def slopes(
    ring: RingMapper,
    generator: Generator,
    identity: IdentityJudge,
    landmarks: Landmarks,
    codes: Tensor,
    *,
    seed: int = 0,
    progress: bool = True,
) -> Tensor:
    """Slopes (B, 3, axes) of identity, landmarks and pixels at ``codes`` (B, 16, 512).

    Along the whitened axes of ``ring``, all of its rows moving alike. Each is the
    gradient of a random mixture of the outputs, so the mean of its outer products over
    people is that of J^T J, of the Jacobian J.
    """
    rng = torch.Generator().manual_seed(seed)
    found = []
    parts = tqdm(codes.split(PART), desc="slopes", disable=not progress)
    for part in parts:
        ws = part.clone().requires_grad_(True)
        picture = generator.preview(ws)
        small = F.interpolate(picture, size=(SIDE, SIDE), mode="area")
        outputs = (identity.embed(picture), landmarks.landmarks(picture), small)
        here = []
        for output in outputs:
            mixture = torch.randn(output.shape, generator=rng).to(output)
            total = (output * mixture).sum()
            (slope,) = torch.autograd.grad(total, ws, retain_graph=True)
            rows = slope[:, list(ring.layers)].sum(1)
            here.append(rows.double() @ ring.write.T)
        found.append(torch.stack(here, dim=1))
    return torch.cat(found)


def identity_directions(found: Tensor, number: int, keep: float = 1.6) -> Tensor:
    """The best ``number`` directions, (number, axes), from ``slopes`` (B, 3, axes).

    They maximise d^T G_id d / d^T (I + keep (G_points + G_pixels)) d, the three G of
    mean eigenvalue 1, and the denominator is 1 for each.

    Args:
        found: what ``slopes`` gave.
        number: of directions.
        keep: weight of what should stay.
    """
    axes = found.shape[-1]
    each = [part.T @ part for part in found.unbind(1)]
    who, points, pixels = (g * (axes / g.trace()) for g in each)
    price = torch.eye(axes).to(found) + keep * (points + pixels)
    half = torch.linalg.cholesky(price)
    scaled = torch.linalg.solve_triangular(half, who, upper=False)
    scaled = torch.linalg.solve_triangular(half, scaled.T, upper=False)
    _, vectors = torch.linalg.eigh((scaled + scaled.T) / 2)
    best = vectors.flip(1)[:, :number]
    return torch.linalg.solve_triangular(half.T, best, upper=True).T
