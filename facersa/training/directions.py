"""Which directions of the edited rows change what is seen in a face.

At the codes of many people the gradients of a few outputs are computed. For the ring
these are the identity vector, the landmarks and the picture's pixels: the directions
that change identity most, for what they change of the other two and for how unusual the
step is, solve a generalised eigenvalue problem. For the steady cipher they are the pose
and the look, which is apparent gender and age and the colour of the skin: the
directions that change these most are left alone. Nothing is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from facersa.cipher.steady import LAYERS
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics
from facersa.judges.look import LookJudge
from facersa.judges.networks import Pose
from facersa.people import training_people

SIDE = 64  # of the picture whose pixels should stay
PART = 4  # people painted at once
STEADY_PEOPLE = 320  # at whose codes the kept directions are measured
# Of kept directions: of the pose, of apparent gender, apparent age, colour of the skin.
STEADY_NUMBERS = (3, 1, 1, 1)
CHEEKS = (0.42, 0.66), (0.3, 0.7)  # rows and columns of an aligned face, in sides


def shrunk(picture: Tensor) -> Tensor:
    """Pictures (B, 3, R, R) at 64 x 64, of which the pixels should stay."""
    return F.interpolate(picture, size=(SIDE, SIDE), mode="area")


def skin(picture: Tensor) -> Tensor:
    """Mean colour (B, 3) of nose and cheeks in aligned faces (B, 3, R, R)."""
    rows, columns = (
        slice(*(round(end * picture.shape[-1]) for end in ends)) for ends in CHEEKS
    )
    return picture[..., rows, columns].mean((-1, -2))


def output_gradients(
    generator: Generator,
    outputs: Sequence[Callable[[Tensor], Tensor]],
    codes: Tensor,
    *,
    layers: Sequence[int],
    axes: Tensor,
    seed: int = 0,
    progress: bool = True,
) -> Tensor:
    """Gradients (B, outputs, axes) of what networks see in a picture, one a person.

    Each is that of a random mixture of an output's numbers, so the mean of its outer
    products over people is that of J^T J, of the Jacobian J.

    Args:
        generator: paints the previews.
        outputs: of pictures (B, 3, R, R), such as a judge's embedding.
        codes: people (B, rows, D).
        layers: the rows that move, all alike.
        axes: (axes, D) steps of w along which they move.
        seed: of the mixtures.
        progress: show a bar.
    """
    rng = torch.Generator().manual_seed(seed)
    gradients = []
    parts = tqdm(codes.split(PART), desc="gradients", disable=not progress)
    for part in parts:
        ws = part.clone().requires_grad_(True)
        picture = generator.preview(ws)
        along = []
        for output in [see(picture) for see in outputs]:
            mixture = torch.randn(output.shape, generator=rng).to(output)
            total = (output * mixture).sum()
            (gradient,) = torch.autograd.grad(total, ws, retain_graph=True)
            rows = gradient[:, list(layers)].sum(1)
            along.append(rows.double() @ axes.double().T)
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


def steady_directions(gradients: Tensor, numbers: Sequence[int]) -> Tensor:
    """Directions that the steady cipher leaves alone, (axes, sum of ``numbers``).

    Of each output the leading eigenvectors of the mean outer product of its gradients,
    each of length 1 (otherwise the few people with the steepest gradients decide: from
    two halves of the people came two third directions of the pose), made orthonormal.

    Args:
        gradients: (B, outputs, axes) of ``output_gradients``.
        numbers: of directions, for each output.
    """
    leading = []
    for part, number in zip(gradients.unbind(1), numbers, strict=True):
        part = F.normalize(part, dim=1)
        _, vectors = torch.linalg.eigh(part.T @ part)
        leading.append(vectors.flip(1)[:, :number])
    return torch.linalg.qr(torch.cat(leading, 1)).Q


def fit_steady(generator: Generator, pose: Pose, look: LookJudge) -> Tensor:
    """The directions that the steady cipher leaves alone, (512, 6).

    Three of the pose, one each of apparent gender, apparent age and skin colour.

    Args:
        generator: the shipped one.
        pose: training judge.
        look: judge of apparent gender and age.
    """
    codes = training_people(generator, STEADY_PEOPLE, 0)
    gradients = output_gradients(
        generator,
        [
            pose.angles,
            lambda picture: look.look(picture).male,
            lambda picture: look.look(picture).age,
            skin,
        ],
        codes,
        layers=LAYERS,
        axes=WStatistics.load().colourer().to(codes),
    )
    return steady_directions(gradients, STEADY_NUMBERS)
