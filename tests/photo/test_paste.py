"""Blending: a face into its photo, beside others, in any order, without a seam."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from facersa.errors import ImageError
from facersa.judges.metrics import psnr
from facersa.photo import images
from facersa.photo.align import align
from facersa.photo.faces import load_held_out_faces
from facersa.photo.paste import FADE, GAP, paste
from facersa.photo.square import Aligned, roundness, units


@pytest.fixture(scope="module")
def aligned(astronaut: Tensor) -> Aligned:
    return align(astronaut, 512, faces=load_held_out_faces())


def test_there_and_back_again(astronaut: Tensor, aligned: Aligned) -> None:
    back = paste(astronaut, aligned.image, aligned)
    low, high = aligned.quad.min(0).astype(int), aligned.quad.max(0).astype(int)
    inside = (slice(None), slice(None), slice(low[1], high[1]), slice(low[0], high[0]))
    assert psnr(back[inside], astronaut[inside]) > 37
    assert (back[inside] - astronaut[inside]).abs().max() > 0  # it did something


def test_pixels_outside_the_crop_are_untouched(
    astronaut: Tensor, aligned: Aligned
) -> None:
    before = astronaut.clone()
    edited = paste(astronaut, torch.zeros(1, 3, 256, 256), aligned)
    assert torch.equal(astronaut, before)
    centre = aligned.quad.mean(0).astype(int)
    assert edited[0, :, centre[1], centre[0]].abs().max() == 0
    y, x = torch.meshgrid(
        torch.arange(512) + 0.5, torch.arange(512) + 0.5, indexing="ij"
    )
    away = torch.stack([x, y], -1) - torch.tensor(aligned.quad.mean(0))
    far = away.norm(dim=-1) > aligned.side * 2**-0.5
    assert torch.equal(edited[:, :, far], astronaut[:, :, far])
    # On the edge of the crop nothing shows, halfway into the feather all blends.
    left = (aligned.quad[0] + aligned.quad[1]) / 2
    right = (aligned.quad[2] + aligned.quad[3]) / 2
    changes = []
    for depth in (0.005, 0.05, 0.15):
        column, row = (left + depth * (right - left)).astype(int)
        goal = astronaut[0, :, row, column]
        changes.append(((goal - edited[0, :, row, column]) / goal).mean().item())
    assert abs(changes[0]) < 0.05 < 0.3 < changes[1] < 0.7 < changes[2]


def test_paste_wants_the_photo_it_came_from(
    astronaut: Tensor, aligned: Aligned
) -> None:
    with pytest.raises(ImageError, match="pass that photo"):
        paste(astronaut[:, :, 1:], aligned.image, aligned)


SIDE = 160
PHOTO = torch.rand(1, 3, 200, 300, generator=torch.Generator().manual_seed(1)) - 0.5


def square(x: float, y: float, side: float = SIDE) -> np.ndarray:
    return np.array([[x, y], [x, y + side], [x + side, y + side], [x + side, y]])


def neighbours() -> list[Aligned]:
    """Three that overlap much: two side by side and a smaller one below."""
    quads = [square(0, 10), square(95, 20), square(80, 110, 90)]
    aligned = [Aligned(PHOTO, quad, (200, 300)) for quad in quads]
    return [one.beside(quads) for one in aligned]


def plain(level: float) -> Tensor:
    return torch.full((1, 3, 64, 64), float(level))


def test_faces_side_by_side_go_in_in_any_order() -> None:
    faces = [plain(0.9), plain(-0.9), plain(0.5)]
    results = []
    for order in itertools.permutations(range(3)):
        photo = PHOTO
        for index in order:
            photo = paste(photo, faces[index], neighbours()[index])
        results.append(photo)
    assert all(torch.equal(results[0], other) for other in results)
    for face, where in zip(faces, neighbours(), strict=True):
        x, y = where.quad.mean(0).astype(int)
        reach = int(where.side / 8)
        middle = (..., slice(y - reach, y + reach), slice(x - reach, x + reach))
        torch.testing.assert_close(
            results[0][middle], face[0, 0, 0, 0].expand_as(results[0][middle])
        )


def test_no_pixel_is_touched_by_two_faces() -> None:
    changed = [
        (paste(PHOTO, plain(1), where) != PHOTO).any(1) for where in neighbours()
    ]
    for first, second in itertools.combinations(changed, 2):
        assert not (first & second).any()
    assert all(one.sum() > 0.2 * SIDE**2 for one in changed[:2])


def test_finds_that_differ_a_little_still_do_not_overlap() -> None:
    """Somebody looks for the neighbour again, and finds it three pixels off."""
    first, second, _ = neighbours()
    moved = Aligned(PHOTO, second.quad + 3, (200, 300)).beside([first.quad - 2])
    one, two = (paste(PHOTO, plain(1), w) != PHOTO for w in (first, moved))
    assert not (one & two).any()


def test_taking_a_face_out_leaves_the_neighbour_alone() -> None:
    first, second, third = neighbours()
    both = paste(paste(PHOTO, plain(0.9), first), plain(-0.9), second)
    back = paste(both, plain(0.1), first, replaces=plain(0.9))
    expected = paste(paste(PHOTO, plain(0.1), first), plain(-0.9), second)
    torch.testing.assert_close(back, expected, atol=1e-5, rtol=0)
    assert len(third.others) == 2


def test_without_neighbours_the_mask_is_the_rounded_square() -> None:
    """The slow way, from the definition."""
    where = Aligned(PHOTO, square(20.0, 15), (200, 300))
    result = paste(torch.zeros_like(PHOTO), plain(1), where)[0, 0]
    for x, y in ((21, 95), (24, 95), (30, 80), (36, 95), (99, 95), (30, 25), (60, 20)):
        u, v = (abs(2 * (p + 0.5 - o) / SIDE - 1) for p, o in ((x, 20), (y, 15)))
        ramp = min(1.0, max(0.0, (1 - (u**2.5 + v**2.5) ** 0.4) / 0.25))
        assert result[y, x].item() == pytest.approx(ramp**2 * (3 - 2 * ramp), abs=1e-5)


def detailed(left: float = 20.0) -> Aligned:
    return Aligned(PHOTO, square(left, 15), (200, 300), keeps_detail=True)


def test_kept_detail_is_replaced_in_the_face_and_changed_around_it() -> None:
    """The photo is .3 of something the painted pictures, -.2 and .1, do not have."""
    where, photo = detailed(), torch.full_like(PHOTO, 0.3)
    shown = paste(photo, plain(-0.2), where)
    edited = paste(shown, plain(0.1), where, replaces=plain(-0.2))[0, 0]
    middle, beside, corner = (95, 100), (95, 38), (16, 21)
    assert edited[middle] == pytest.approx(0.1)  # the face: as painted
    assert shown[0, 0, *beside] == pytest.approx(0.3)
    assert edited[beside] == pytest.approx(0.6, abs=0.05)  # plus what changed
    assert edited[corner] == pytest.approx(0.3)  # outside the rounded square
    assert edited[95, 250] == pytest.approx(0.3)


def test_kept_detail_comes_back_without_the_photo() -> None:
    rng = torch.Generator().manual_seed(0)
    photo = 0.4 * torch.rand(PHOTO.shape, generator=rng) - 0.2
    one, two = (0.4 * torch.rand(1, 3, 160, 160, generator=rng) - 0.2 for _ in "12")
    where = detailed()
    shown = paste(photo, one, where)
    edited = paste(shown, two, where, replaces=one)
    back = paste(edited, one, where, replaces=two)
    torch.testing.assert_close(back, shown, atol=1e-6, rtol=0)
    assert (edited - shown).abs().max() > 0.2
    # A photo that shows another face than it should: only the oval is painted.
    other = paste(photo, plain(0.9), where)
    assert torch.equal(paste(other, one, where, replaces=two), paste(other, one, where))


def test_kept_detail_leaves_neighbours_alone() -> None:
    first, second, _ = (replace(w, keeps_detail=True) for w in neighbours())
    changed = [
        paste(PHOTO, plain(0.9), w, replaces=plain(-0.9)) != PHOTO
        for w in (first, second)
    ]
    assert changed[0].any() and not (changed[0] & changed[1]).any()


def test_a_photo_of_grey_levels_keeps_them() -> None:
    """Pasted as into a float one; outside the square not a bit changes."""
    photo, where = images.to_levels(PHOTO), neighbours()[0]
    how: dict[str, Any] = {"replaces": plain(0)}
    pasted = paste(photo, plain(0.9), where, **how)
    expected = paste(images.to_float(photo), plain(0.9), where, **how)
    assert torch.equal(pasted, images.to_levels(expected))
    assert torch.equal(pasted[..., SIDE:], photo[..., SIDE:])
    assert (pasted != photo).float().mean() > 0.1


def test_many_neighbours_far_away_change_nothing() -> None:
    where = Aligned(PHOTO, square(20, 15), (200, 300))
    crowd = replace(where, others=tuple(square(185 + n, 20, 90) for n in range(9)))
    alone, beside = (paste(PHOTO, plain(0.9), one) for one in (where, crowd))
    # By the definition: a neighbour counts where its roundness is small.
    y, x = torch.meshgrid(torch.arange(200.0), torch.arange(300.0), indexing="ij")
    pixels = torch.stack([x, y], -1).double() + 0.5
    far = torch.ones(200, 300, dtype=torch.bool)
    for other in crowd.others:
        gap = roundness(units(other, pixels)) - roundness(units(where.quad, pixels))
        far &= gap > GAP + FADE
    assert torch.equal(alone[..., far], beside[..., far])
    assert not torch.equal(alone, beside)


def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    where, face = neighbours()[0], torch.rand(1, 3, 300, 300)
    once = paste(PHOTO, face, where, replaces=plain(0))
    monkeypatch.setattr(images, "BAND_PIXELS", 1)
    torch.testing.assert_close(paste(PHOTO, face, where, replaces=plain(0)), once)
