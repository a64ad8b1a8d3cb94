from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from facersa.photo.align import align
from facersa.photo.blend import FOREHEAD, UNITS, fit_oval, harmonise, ovalness
from facersa.photo.faces import load_held_out_faces
from facersa.photo.images import to_float, to_levels
from facersa.photo.paste import paste
from facersa.photo.square import Aligned, units

UNIT_SQUARE = np.array([[0.0, 0], [0, 1], [1, 1], [1, 0]])


@pytest.fixture
def aligned(astronaut: Tensor) -> Aligned:
    faces = load_held_out_faces()
    found = align(astronaut, 256, faces=faces)
    (box,) = faces.detect(to_levels(astronaut)[0].permute(1, 2, 0).numpy(), 0.3)
    levels = np.ascontiguousarray(to_levels(astronaut)[0].permute(1, 2, 0).numpy())
    oval = fit_oval(faces.locate(levels, box) + 0.5, found.quad)
    return replace(found, oval=oval, tone=True)


def shown_places(where: Aligned) -> tuple[Tensor, Tensor]:
    """For the photo's pixels: inside the rim, and well inside, (H, W) each."""
    height, width = where.photo_size
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    pixels = torch.stack([x, y], -1).double() + 0.5
    away = ovalness(units(where.quad, pixels), where.oval)
    return away < 1, away < 0.75


def test_the_oval_lies_inside_the_face() -> None:
    landmarks = np.zeros((68, 2))
    angle = np.linspace(np.pi, 0, 17)  # the jaw: half an ellipse, chin at (.5, .9)
    landmarks[:17] = np.stack([0.5 + 0.3 * np.cos(angle), 0.5 + 0.4 * np.sin(angle)], 1)
    landmarks[17:27] = np.stack([np.linspace(0.25, 0.75, 10), np.full(10, 0.4)], 1)
    landmarks[27:31] = np.stack([np.full(4, 0.5), np.linspace(0.45, 0.55, 4)], 1)
    x, y, left, right, up, down = fit_oval(landmarks, UNIT_SQUARE)
    assert (x, y) == (round(0.5 * UNITS), round(0.5 * UNITS))
    assert left == right == round(0.9 * 0.3 * UNITS)
    assert down == round(0.9 * 0.4 * UNITS)
    assert up == round(0.9 * (0.5 - 0.4 + FOREHEAD * 0.5) * UNITS)
    rim = torch.tensor([[0.5, 0.86], [0.77, 0.5], [0.5, 0.5]])
    assert ovalness(rim, (x, y, left, right, up, down)).tolist() == pytest.approx(
        [1, 1, 0], abs=0.02
    )


def test_another_light_is_taken_away(astronaut: Tensor, aligned: Aligned) -> None:
    """The face itself, darker to one side and of another colour, comes out as it is."""
    ramp = torch.linspace(-0.3, 0.2, 256).expand(1, 1, 256, 256)
    tint = torch.tensor([0.1, 0.0, -0.1]).view(1, 3, 1, 1)
    strange = (aligned.image + ramp + tint).clamp(-1, 1)
    out = harmonise(strange, astronaut, aligned)
    axis = (torch.arange(256) + 0.5) / 256
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    inside = ovalness(torch.stack([x, y], -1), aligned.oval) < 0.9
    before, after = (
        (face - aligned.image)[..., inside].abs().mean() for face in (strange, out)
    )
    assert before > 0.08 and after < 0.025


def test_light_that_the_rim_does_not_show_is_taken_away_too(
    astronaut: Tensor, aligned: Aligned
) -> None:
    """A shadow in the middle of the face alone, darker on one side."""
    axis = (torch.arange(256) + 0.5) / 256
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    away = ovalness(torch.stack([x, y], -1), aligned.oval)
    shadow = (0.4 + 0.5 * (x - aligned.oval[0] / UNITS)) * ((1 - away) / 0.35).clamp(
        0, 1
    )
    shaded = aligned.image - shadow[None, None].to(aligned.image)
    middle = away < 0.6
    left = {}
    for tone in (False, True):
        out = harmonise(shaded, astronaut, replace(aligned, tone=tone))
        left[tone] = float((out - aligned.image)[..., middle].abs().mean())
    assert left[False] > 0.2 and left[True] < 0.05


def test_beyond_the_rim_nothing_changes_and_the_way_back_leaves_no_trace(
    astronaut: Tensor, aligned: Aligned
) -> None:
    photo = to_levels(astronaut)
    # Not so bright or dark that the light added would be cut off.
    one, two = (0.4 * torch.rand(1, 3, 64, 64) - 0.2 for _ in range(2))
    there = paste(photo, harmonise(one, photo, aligned), aligned)
    rim, middle = shown_places(aligned)
    assert torch.equal(there[..., ~rim], photo[..., ~rim])
    assert (there[..., middle] != photo[..., middle]).double().mean() > 0.9
    before, after = (harmonise(face, there, aligned) for face in (one, two))
    back = paste(there, after, aligned, replaces=before)
    direct = paste(photo, harmonise(two, photo, aligned), aligned)
    assert (back.int() - direct.int()).abs().max() <= 2


def test_a_face_at_the_edge_and_one_beside_another_are_painted_too(
    astronaut: Tensor, aligned: Aligned
) -> None:
    photo, face = to_levels(astronaut), torch.rand(1, 3, 64, 64) * 2 - 1
    side = aligned.side
    for moved in (
        replace(aligned, quad=aligned.quad - [aligned.quad[0, 0] + 0.4 * side, 0]),
        aligned.beside([aligned.quad + [0.6 * side, 0.0]]),
        replace(aligned, quad=aligned.quad + 5000.0),
    ):
        out = harmonise(face, photo, moved)
        assert out.isfinite().all() and to_float(out).abs().max() <= 1
    assert torch.equal(out, face)  # nothing of the last can be seen
