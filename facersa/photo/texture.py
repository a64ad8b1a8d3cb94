"""A painted face with the light and the texture of the photograph it goes into.

What ``blend`` carries inwards from the rim says nothing of a shadow across the nose,
of a flash on the forehead, or of how blurred and how contrasty the photograph is. So
within the oval, place by place:

- the mean colour around each place becomes the photograph's there;
- the energy of fine to coarse detail around each place becomes the photograph's there,
  band by band (the local statistics of Shih et al. 2014, *Style transfer for headshot
  portraits*), and for brightness and colour apart. That blurs a face for a blurred
  photograph, flattens highlights that are not there, and pales lips that are too red.

The surroundings of a place are so wide that features do not come along with the light:
what stays of the person is measured beside all else, see ``evaluation.photographs``.
The encrypted picture has these statistics, so decryption finds them there again.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from facersa.photo.blend import BEYOND, ovalness, readable, smooth
from facersa.photo.images import resize
from facersa.photo.square import Aligned, crop, unit_grid

SIDE = 512  # pixels at most in which detail is measured
COARSE = 64  # of the grid on which means over a place's surroundings are taken
LIGHT, DETAIL = 0.1, 0.12  # deviations of the surroundings, in sides
COARSEST = 1 / 16  # of the side: the widest blur that takes a band away
# Of the brightness of a band and of its colour, at least and at most. What is deepened
# much shows: wrinkles, and lips.
GAINS = (0.3, 1.25), (0.3, 1.0)
FADE = 0.2  # of the way from the rim inwards: there the change fades in


def match_texture(face: Tensor, photo: Tensor, aligned: Aligned) -> Tensor:
    """A painted face with the local mean and detail of the photograph under it.

    Args:
        face: (1, 3, S, S) in [-1, 1], any S, in the colours of the rim already.
        photo: (1, 3, H, W), uint8 or in [-1, 1].
        aligned: the position of the square, its oval, and the other faces near it.

    Returns:
        (1, 3, S, S); ``face`` itself where nothing under the oval can be read.
    """
    side = max(16, min(round(aligned.side), SIDE))
    unit = unit_grid(side)
    away = ovalness(unit, aligned.oval)
    seen = ((away < BEYOND) & readable(unit, aligned)).float()
    if not seen.any():
        return face
    picture = crop(photo, aligned.quad, side).image.float().cpu()
    before = resize(face, side).float().cpu()
    painted = before
    for wanted, band in zip(_bands(picture), _bands(painted), strict=True):
        for aim, part, gains in zip(_split(wanted), _split(band), GAINS, strict=True):
            energies = torch.cat([aim, part]).square().mean(1, keepdim=True)
            there, here = _around(energies, seen, DETAIL).clamp(min=0)
            gain = (there / (here + 1e-8)).sqrt().clamp(*gains)
            painted = painted + part * (gain - 1)
    painted = painted + _around(picture - painted, seen, LIGHT)
    change = (painted - before) * smooth((1 - away) / FADE).float()
    size = face.shape[-2:]
    return (face + F.interpolate(change, size, mode="bicubic").to(face)).clamp(-1, 1)


def _bands(picture: Tensor) -> list[Tensor]:
    """What wider and wider blurs take away from (1, 3, S, S): each the same shape.

    The first takes away one pixel, each next one twice as many.
    """
    bands, rest, sigma = [], picture, 1.0
    while sigma <= max(1.0, COARSEST * picture.shape[-1]):
        blurred = torch.from_numpy(
            gaussian_filter(picture.numpy(), (0, 0, sigma, sigma), truncate=3)
        )
        bands.append(rest - blurred)
        rest, sigma = blurred, 2 * sigma
    return bands


def _split(band: Tensor) -> tuple[Tensor, Tensor]:
    """The brightness (B, 1, S, S) of a band, and the colour (B, 3, S, S) beside it."""
    luma = band.mean(1, keepdim=True)
    return luma, band - luma


def _around(values: Tensor, seen: Tensor, sigma: float) -> Tensor:
    """Gaussian means of values (B, C, S, S) over what is seen (S, S) of each place."""
    side = values.shape[-1]
    grid = min(COARSE, side)
    weighed = torch.cat([values * seen, seen.expand_as(values[:, :1])], 1)
    small = F.adaptive_avg_pool2d(weighed, grid).numpy()
    small = gaussian_filter(small, (0, 0, sigma * grid, sigma * grid))
    means = torch.from_numpy(small[:, :-1] / (small[:, -1:] + 1e-6))
    return F.interpolate(means, side, mode="bilinear")
