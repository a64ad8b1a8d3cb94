"""Which directions of the edited rows change who somebody is, and little else.

At the codes of many people the gradients of three outputs are computed: of the identity
vector, of the landmarks and of the picture's pixels. The directions that change
identity most, for what they change of the other two and for how unusual the step is,
solve a generalised eigenvalue problem. Nothing is trained.
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


def output_gradients(
    ring: RingMapper,
    generator: Generator,
    identity: IdentityJudge,
    landmarks: Landmarks,
    codes: Tensor,
    *,
    seed: int = 0,
    progress: bool = True,
) -> Tensor:
    """Gradients (B, 3, axes) of identity, landmarks and pixels, one a person.

    Each is that of a random mixture of the outputs, so the mean of its outer products
    over people is that of J^T J, of the Jacobian J.

    Args:
        ring: along its whitened axes, all of its rows moving alike.
        generator: paints the previews.
        identity: training judge.
        landmarks: training judge.
        codes: people (B, rows, 512).
        seed: of the mixtures.
        progress: show a bar.
    """
    rng = torch.Generator().manual_seed(seed)
    gradients = []
    parts = tqdm(codes.split(PART), desc="gradients", disable=not progress)
    for part in parts:
        ws = part.clone().requires_grad_(True)
        picture = generator.preview(ws)
        small = F.interpolate(picture, size=(SIDE, SIDE), mode="area")
        outputs = (identity.embed(picture), landmarks.landmarks(picture), small)
        along = []
        for output in outputs:
            mixture = torch.randn(output.shape, generator=rng).to(output)
            total = (output * mixture).sum()
            (gradient,) = torch.autograd.grad(total, ws, retain_graph=True)
            rows = gradient[:, list(ring.layers)].sum(1)
            along.append(rows.double() @ ring.write.T)
        gradients.append(torch.stack(along, dim=1))
    return torch.cat(gradients)


def identity_directions(gradients: Tensor, number: int, keep: float = 1.6) -> Tensor:
    """The best ``number`` directions, (number, axes), from gradients (B, 3, axes).

    They maximise d^T G_id d / d^T (I + keep (G_landmarks + G_pixels)) d, each G scaled
    to a mean eigenvalue of 1; the denominator is 1 for each direction.

    Args:
        gradients: of ``output_gradients``.
        number: of directions.
        keep: weight of what should stay.
    """
    axes = gradients.shape[-1]
    each = [part.T @ part for part in gradients.unbind(1)]
    identity, landmarks, pixels = (g * (axes / g.trace()) for g in each)
    cost = torch.eye(axes).to(gradients) + keep * (landmarks + pixels)
    half = torch.linalg.cholesky(cost)
    scaled = torch.linalg.solve_triangular(half, identity, upper=False)
    scaled = torch.linalg.solve_triangular(half, scaled.T, upper=False)
    _, vectors = torch.linalg.eigh((scaled + scaled.T) / 2)
    best = vectors.flip(1)[:, :number]
    return torch.linalg.solve_triangular(half.T, best, upper=True).T
