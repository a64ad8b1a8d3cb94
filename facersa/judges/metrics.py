"""Measures: how far apart two pictures, two people, two poses are.

Pure functions of tensors, one value per picture, and the calibration that turns
a judge's raw cosine into something comparable. The paper's Tables 1 to 3 use the
same quantities, but not always on a stated scale: here every range is an
argument. Pictures are (B, 3, H, W) in [-1, 1], clamped as a picture file would.
NaN stands for an undetected face, and whatever is compared with it is NaN.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from facersa.ops import check_shape

PAPER_PEAK = 255.0  # Table 3's PSNR sets this peak against errors of unit range


def _levels(image: Tensor, span: float) -> Tensor:
    check_shape(image, None, 3, None, None, name="image")
    return (image.clamp(-1, 1) + 1) * (span / 2)


def mse(a: Tensor, b: Tensor, *, span: float = 1.0) -> Tensor:
    """Mean squared error (B,), black to white being ``span`` apart.

    ``span`` 1 measures on [0, 1]; 2 measures on [-1, 1] and gives four times as
    much.
    """
    return (_levels(a, span) - _levels(b, span)).square().flatten(1).mean(1)


def psnr(
    a: Tensor, b: Tensor, *, span: float = 1.0, peak: float | None = None
) -> Tensor:
    """Peak signal-to-noise ratio (B,) in dB: 10 log10(peak^2 / MSE).

    By default the peak is the span, as the definition asks, and then the span
    does not matter. ``peak=PAPER_PEAK`` with ``span=1`` is the paper's Table 3:
    48.13 dB more for the same pictures. Equal pictures give infinity.
    """
    peak = span if peak is None else peak
    return 10 * torch.log10(peak**2 / mse(a, b, span=span))


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (B,) of Wang et al. 2004, 1 for equal pictures.

    Gaussian window of 11 pixels with deviation 1.5, constants .01 and .03, range
    [0, 1], mean over the three channels and over the places where the window
    fits.
    """
    a, b = _levels(a, 1.0), _levels(b, 1.0)
    offsets = torch.arange(-5.0, 6.0, dtype=a.dtype, device=a.device)
    window = torch.exp(-offsets.square() / (2 * 1.5**2))
    window = window / window.sum()
    places = [side - len(window) + 1 for side in a.shape[-2:]]

    def local_mean(x: Tensor) -> Tensor:  # sums of shifts: faster than convolutions
        for dim, size in zip((-2, -1), places, strict=True):
            shifts = (x.narrow(dim, k, size) * v for k, v in enumerate(window))
            x = functools.reduce(Tensor.add_, shifts)
        return x

    mean_a, mean_b = local_mean(a), local_mean(b)
    var_a = local_mean(a * a) - mean_a * mean_a
    var_b = local_mean(b * b) - mean_b * mean_b
    both = local_mean(a * b) - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_a * mean_b + c1) * (2 * both + c2)
    bottom = (mean_a.square() + mean_b.square() + c1) * (var_a + var_b + c2)
    return (top / bottom).flatten(1).mean(1)


def eye_distance(landmarks: Tensor) -> Tensor:
    """From eye centre to eye centre: landmarks (B, 68, 2) to (B,), in their unit."""
    check_shape(landmarks, None, 68, 2, name="landmarks")
    return (landmarks[:, 36:42].mean(1) - landmarks[:, 42:48].mean(1)).norm(dim=-1)


def landmark_distance(a: Tensor, b: Tensor, *, by: str = "side") -> Tensor:
    """Mean distance (B,) of 68 landmarks (B, 68, 2) given in sides of the picture.

    Args:
        a: landmarks of the reference.
        b: landmarks of the other picture.
        by: "side" leaves the unit, sides of the picture (we assume that the
            paper's Table 2 means this; it does not say); "eyes" divides by the
            distance between the eyes of ``a``.
    """
    check_shape(b, *a.shape, name="b")
    if by not in ("side", "eyes"):
        raise ValueError(f'by must be "side" or "eyes", got {by!r}.')
    eyes = eye_distance(a)
    distance = (a - b).norm(dim=-1).mean(1)
    return distance / eyes if by == "eyes" else distance


def pose_cosine(a: Tensor, b: Tensor) -> Tensor:
    """trace(a^T b) / 3 of rotations (B, 3, 3): (B,), 1 for the same pose."""
    check_shape(a, None, 3, 3, name="a")
    return (a * b).sum((-2, -1)) / 3


def calibrated_identity(similarity: Tensor, s0: float) -> Tensor:
    """(s - s0) / (1 - s0): 0 as similar as strangers, 1 the same picture."""
    return (similarity - s0) / (1 - s0)


def same_person(similarity: Tensor, threshold: float) -> Tensor:
    """Which pairs a judge accepts as one person: 1 or 0, so that the mean is the share.

    A pair with an undetected face stays NaN, no verdict: a broken face hides nobody.
    """
    return (similarity > threshold).float().where(~similarity.isnan(), torch.nan)
