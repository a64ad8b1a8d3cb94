"""Metrics: known values, and agreement with scikit-image."""

from __future__ import annotations

import math

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from facersa.judges.metrics import (
    PAPER_PEAK,
    calibrated_identity,
    landmark_distance,
    mse,
    pose_cosine,
    psnr,
    same_person,
    ssim,
)


def grey(level: float) -> Tensor:
    """A uniform picture, ``level`` on [0, 1]."""
    return torch.full((1, 3, 32, 32), 2 * level - 1)


def test_mse_and_psnr_of_uniform_pictures() -> None:
    """A tenth apart on [0, 1] is .01 or .04 and exactly 20 dB."""
    a, b = grey(0.5), grey(0.6)
    assert mse(a, b).item() == pytest.approx(0.01, rel=1e-5)
    assert mse(a, b, span=2).item() == pytest.approx(0.04, rel=1e-5)
    assert psnr(a, b).item() == pytest.approx(20, abs=1e-4)
    assert psnr(a, b, span=2).item() == pytest.approx(20, abs=1e-4)
    assert psnr(a, a).item() == math.inf


def test_the_paper_convention_reproduces_table_3() -> None:
    """Its MSE .0019 prints as 75.3 dB with peak 255, 27.2 dB by the definition."""
    a, b = grey(0.5), grey(0.5 + 0.0019**0.5)
    assert psnr(a, b, peak=PAPER_PEAK).item() == pytest.approx(75.34, abs=0.01)
    assert psnr(a, b).item() == pytest.approx(27.21, abs=0.01)
    c = grey(0.5 + 0.0019**0.5 / 2)  # the same MSE, read on [-1, 1]
    assert mse(a, c, span=2).item() == pytest.approx(0.0019, rel=1e-4)
    assert psnr(a, c, span=2).item() == pytest.approx(33.23, abs=0.01)


def test_pictures_count_as_they_would_be_saved() -> None:
    assert mse(grey(1.0), grey(1.5)).item() == 0


def test_one_value_per_picture() -> None:
    a = torch.cat([grey(0.5), grey(0.5)])
    b = torch.cat([grey(0.5), grey(0.7)])
    for measure in (mse, psnr, ssim):
        first, second = measure(a, b).tolist()
        assert first != second
        assert measure(a[1:], b[1:]).item() == pytest.approx(second, rel=1e-5)


def test_ssim_agrees_with_scikit_image(astronaut: Tensor) -> None:
    a = astronaut[:, :, :160, 100:300]
    b = (a + 0.2 * torch.randn_like(a)).clamp(-1, 1)
    theirs = structural_similarity(
        ((a[0] + 1) / 2).double().numpy(),
        ((b[0] + 1) / 2).double().numpy(),
        channel_axis=0,
        data_range=1.0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
    )
    assert ssim(a, b).item() == pytest.approx(theirs, abs=1e-4)
    assert 0.2 < theirs < 0.9
    assert ssim(a, a).item() == pytest.approx(1, abs=1e-5)


def face_points() -> Tensor:
    """68 points with the eye centres .25 of the side apart."""
    points = torch.rand(1, 68, 2)
    points[:, 36:42] = torch.tensor([0.375, 0.5])
    points[:, 42:48] = torch.tensor([0.625, 0.5])
    return points


def test_landmark_distance_in_sides_and_in_eye_distances() -> None:
    points = face_points()
    moved = points + torch.tensor([0.006, 0.008])
    assert landmark_distance(points, moved).item() == pytest.approx(0.01, rel=1e-3)
    by_eyes = landmark_distance(points, moved, by="eyes").item()
    assert by_eyes == pytest.approx(0.04, rel=1e-3)
    moved[:] = math.nan
    assert landmark_distance(points, moved).isnan().all()
    with pytest.raises(ValueError, match="side"):
        landmark_distance(points, points, by="nose")


@pytest.mark.parametrize("degrees", [0.0, 20.0, 90.0])
def test_pose_cosine_of_one_turn(degrees: float) -> None:
    """Turns by t about one axis give (1 + 2 cos t) / 3."""
    t = math.radians(degrees)
    base = torch.linalg.qr(torch.randn(3, 3)).Q[None]
    turn = torch.tensor(
        [[math.cos(t), -math.sin(t), 0], [math.sin(t), math.cos(t), 0], [0, 0, 1]]
    )
    expected = (1 + 2 * math.cos(t)) / 3
    assert pose_cosine(base, base @ turn).item() == pytest.approx(expected, abs=1e-5)


def test_calibrated_identity_has_its_two_fixed_points() -> None:
    values = calibrated_identity(torch.tensor([0.875, 1.0, 0.9375, 0.75]), 0.875)
    torch.testing.assert_close(values, torch.tensor([0.0, 1.0, 0.5, -1.0]))


def test_undetected_pairs_get_no_verdict() -> None:
    accepted = same_person(torch.tensor([0.9, 0.5, math.nan]), 0.6)
    assert accepted[:2].tolist() == [1, 0] and accepted[2].isnan()
