from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from facersa.photo.align import align
from facersa.photo.blend import UNITS, harmonise, ovalness
from facersa.photo.images import to_levels
from facersa.photo.paste import paste
from facersa.photo.square import Aligned, crop, unit_grid
from facersa.photo.texture import GAINS, _around, match_texture

OVAL = (128, 128, 70, 70, 85, 85)


@pytest.fixture
def aligned(astronaut: Tensor) -> Aligned:
    return replace(align(astronaut, 256), oval=OVAL, tone=True)


def inside(side: int, radius: float = 0.7) -> Tensor:
    return ovalness(unit_grid(side), OVAL) < radius


def away(one: Tensor, other: Tensor, where: Tensor) -> float:
    return float((one - other)[..., where].abs().mean())


def test_means_are_those_of_what_is_seen_around() -> None:
    values = torch.zeros(1, 1, 32, 32)
    values[..., 16:] = 1
    seen = torch.zeros(32, 32)
    seen[:, 16:] = 1  # only the bright half
    means = _around(values, seen, 0.1)
    assert means[..., 16:].min() > 0.999
    slow = gaussian_filter(values[0, 0].numpy(), 3.2)
    everywhere = _around(values, torch.ones(32, 32), 0.1)[0, 0].numpy()
    np.testing.assert_allclose(everywhere, slow, atol=1e-5)


def test_a_face_becomes_as_blurred_as_its_photograph(
    astronaut: Tensor, aligned: Aligned
) -> None:
    soft = torch.from_numpy(gaussian_filter(astronaut.numpy(), (0, 0, 3.0, 3.0)))
    out = match_texture(aligned.image, soft, aligned)
    wanted = crop(soft, aligned.quad, 256).image
    middle = inside(256)
    assert away(out, wanted, middle) < 0.6 * away(aligned.image, wanted, middle)


def test_a_flat_face_gets_the_contrast_of_its_photograph(
    astronaut: Tensor, aligned: Aligned
) -> None:
    flat = aligned.image * 0.85
    out = match_texture(flat, astronaut, aligned)
    middle = inside(256)
    assert away(out, aligned.image, middle) < 0.25 * away(flat, aligned.image, middle)


def test_lips_are_not_redder_than_the_photographs_features(
    astronaut: Tensor, aligned: Aligned
) -> None:
    """Colour is toned down where the photograph has less, brightness stays."""
    grey = aligned.image.mean(1, keepdim=True)
    vivid = (grey + 1.8 * (aligned.image - grey)).clamp(-1, 1)
    out = match_texture(vivid, astronaut, aligned)
    middle = inside(256)

    def colour(face: Tensor) -> Tensor:
        return face - face.mean(1, keepdim=True)

    def vividness(face: Tensor) -> float:
        rest = colour(face).numpy()
        fine = rest - gaussian_filter(rest, (0, 0, 8, 8))
        return float(torch.from_numpy(fine).square().mean(1)[0][middle].mean().sqrt())

    before, wanted, after = map(vividness, (vivid, aligned.image, out))
    assert before > 1.5 * wanted and after < 1.4 * wanted
    assert away(out.mean(1, keepdim=True), grey, middle) < 0.02


def test_a_shadow_that_is_not_the_photographs_goes(
    astronaut: Tensor, aligned: Aligned
) -> None:
    """A glare on the forehead, which no plane and no rim describes."""
    middle_of_it = torch.tensor([0.5, 0.3], dtype=torch.float64)
    distance = (unit_grid(256) - middle_of_it).norm(dim=-1).float()
    shaded = (aligned.image + 0.5 * (-((distance / 0.12) ** 2)).exp()).clamp(-1, 1)
    lit = harmonise(shaded, astronaut, aligned)
    out = match_texture(lit, astronaut, aligned)
    middle = inside(256)
    left = [away(face, aligned.image, middle) for face in (shaded, lit, out)]
    assert left[2] < 0.85 * left[1] and left[1] < left[0], left


def test_features_do_not_come_along(astronaut: Tensor, aligned: Aligned) -> None:
    """Of a face under a blank one no more than its light and shade is seen."""
    blank = torch.zeros(1, 3, 256, 256) + 0.02 * torch.randn(
        1, 3, 256, 256, generator=torch.Generator().manual_seed(0)
    )
    out = match_texture(blank, astronaut, aligned)
    middle = inside(256)

    def detail(face: Tensor) -> Tensor:
        grey = face[0].mean(0).numpy()
        return torch.from_numpy(grey - gaussian_filter(grey, 0.05 * 256))[middle]

    pair = torch.stack([detail(out), detail(aligned.image)])
    assert abs(float(torch.corrcoef(pair)[0, 1])) < 0.2
    noise = detail(blank).std()
    assert detail(out).std() < max(GAINS[0]) * 1.5 * noise


def test_decryption_finds_the_same_texture_in_the_encrypted_picture(
    astronaut: Tensor, aligned: Aligned
) -> None:
    photo = to_levels(astronaut)
    face = harmonise(aligned.image.flip(-1) * 0.7, photo, aligned)
    there = paste(photo, match_texture(face, photo, aligned), aligned)
    once, again = (match_texture(face, x, aligned) for x in (photo, there))
    middle = inside(256, 0.9)
    assert away(once, again, middle) < 0.4 * away(face, once, middle)


def test_beyond_the_oval_and_where_nothing_is_seen_a_face_stays(
    astronaut: Tensor, aligned: Aligned
) -> None:
    face = torch.rand(1, 3, 64, 64) * 2 - 1
    out = match_texture(face, astronaut, aligned)
    assert out.isfinite().all() and not torch.equal(out, face)
    beyond = ~inside(64, 1.2)
    assert torch.equal(out[..., beyond], face[..., beyond])
    gone = replace(aligned, quad=aligned.quad + 5000.0)
    assert torch.equal(match_texture(face, astronaut, gone), face)
    assert max(OVAL) < UNITS
