"""Tests of the search for directions of identity."""

from __future__ import annotations

import torch

from facersa.cipher.ring import RingConfig, RingMapper
from facersa.generator.base import Generator
from facersa.judges.networks import load_identity, load_landmarks
from facersa.training.directions import (
    identity_directions,
    output_gradients,
    shrunk,
    steady_directions,
)


def test_directions_change_identity_and_spare_the_rest() -> None:
    """Six axes: one of identity alone, one of identity and landmarks, one of pixels."""
    rng = torch.Generator().manual_seed(0)
    gradients = 1e-3 * torch.randn(400, 3, 6, generator=rng, dtype=torch.float64)
    strong = torch.randn(400, 3, generator=rng, dtype=torch.float64)
    gradients[:, 0, 1] += strong[:, 0]
    gradients[:, 0, 4] += 3 * strong[:, 1]
    gradients[:, 1, 4] += strong[:, 1]
    gradients[:, 2, 2] += strong[:, 2]
    careful = identity_directions(gradients, 2, keep=100.0)
    assert careful[0].abs().argmax() == 1
    careless = identity_directions(gradients, 2, keep=0.0)
    assert careless[0].abs().argmax() == 4 and careless[1].abs().argmax() == 1
    square = careless @ careless.T
    torch.testing.assert_close(square, torch.eye(2, dtype=square.dtype))


def test_gradients_are_those_of_a_small_step(generator: Generator) -> None:
    ring = RingMapper(RingConfig(planes=2, axes=8))
    ws = generator.sample(range(2), 0.7)
    judge = load_identity()
    gradients = output_gradients(
        generator,
        [judge.embed, load_landmarks().landmarks, shrunk],
        ws,
        layers=ring.layers,
        axes=ring.write,
        seed=3,
        progress=False,
    )
    assert gradients.shape == (2, 3, 8)
    # The same mixture of the identity vector, a little further along axis 0.
    rng = torch.Generator().manual_seed(3)
    mixture = torch.randn(2, 512, generator=rng)
    size = 0.02
    ends = []
    for sign in (-1, 1):
        moved = ws.clone()
        moved[:, 5:9] += sign * size * ring.write[0].float()
        with torch.no_grad():
            ends.append((judge.embed(generator.preview(moved)) * mixture).sum(1))
    measured = (ends[1] - ends[0]) / (2 * size)
    torch.testing.assert_close(
        measured, gradients[:, 0, 0].float(), rtol=0.1, atol=0.02
    )


def test_what_an_output_depends_on_is_left_alone() -> None:
    """Eight axes: the pose along two of them, the gender along a slanted third."""
    rng = torch.Generator().manual_seed(0)
    gradients = 1e-3 * torch.randn(400, 2, 8, generator=rng, dtype=torch.float64)
    strong = torch.randn(400, 3, generator=rng, dtype=torch.float64)
    gradients[:, 0, 1:3] += strong[:, :2]
    gradients[:, 1, 4] += strong[:, 2]
    gradients[:, 1, 1] += strong[:, 2]
    kept = steady_directions(gradients, [2, 1])
    torch.testing.assert_close(kept.T @ kept, torch.eye(3, dtype=kept.dtype))
    moved = torch.eye(8, dtype=kept.dtype) - kept @ kept.T  # what remains of a step
    assert moved[:, [1, 2, 4]].norm(dim=0).max() < 0.01
    assert moved[:, [0, 3, 5, 6, 7]].norm(dim=0).min() > 0.99
