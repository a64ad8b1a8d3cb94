"""Metrics: known values, agreement with scikit-image, calibration on made-up people."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from facersa.errors import CheckpointError
from facersa.evaluation.results import bootstrap
from facersa.judges import metrics
from facersa.judges.calibration import (
    Calibration,
    calibrate,
    calibration,
    load_calibrations,
    save_calibrations,
)
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
from facersa.people import CALIBRATION_SEED, sample_stratum


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


def test_undetected_pairs_are_not_the_same_person() -> None:
    accepted = same_person(torch.tensor([0.9, 0.5, math.nan]), 0.6)
    assert accepted.tolist() == [1.0, 0.0, 0.0]


def test_bootstrap_covers_the_mean_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(2.0, 1.0, 400)
    found = bootstrap(values.tolist())
    half = 1.96 * values.std() / 20
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)
    assert found == bootstrap(torch.from_numpy(values))
    assert found != bootstrap(values.tolist(), seed=1)
    narrow = bootstrap(values.tolist(), level=0.5)
    assert found.low < narrow.low < narrow.high < found.high


def test_bootstrap_leaves_undetected_faces_out() -> None:
    assert bootstrap([1.0, math.nan, 1.0]) == (1.0, 1.0, 1.0, 2)
    empty = bootstrap([math.nan])
    assert empty.n == 0 and math.isnan(empty.mean)


def test_calibrate_finds_mean_and_one_percent_threshold() -> None:
    """Against a slow loop over all pairs, with one undetected person."""
    people = torch.randn(70, 16) + 0.5
    people[3] = math.nan
    found = calibrate(people, judge="train", stratum="W", psi=0.7)
    kept = [row.double() for row in people if not row.isnan().any()]
    slow = [
        torch.nn.functional.cosine_similarity(kept[i], kept[j], dim=0).item()
        for i in range(len(kept))
        for j in range(i)
    ]
    assert (found.people, found.n) == (69, 69 * 68 // 2) == (69, len(slow))
    assert found.s0 == pytest.approx(np.mean(slow), abs=1e-5)
    assert found.spread == pytest.approx(np.std(slow), abs=1e-5)
    share = found.same_person(torch.tensor(slow, dtype=torch.float64)).mean().item()
    assert 0.005 < share <= 0.01
    assert found.identity(torch.tensor(found.s0)).item() == pytest.approx(0, abs=1e-6)


def test_calibrate_wants_enough_people() -> None:
    with pytest.raises(ValueError, match="64 people"):
        calibrate(torch.randn(63, 8), judge="train", stratum="W", psi=1.0)
    assert calibrate(torch.randn(64, 8), judge="t", stratum="W", psi=1.0).n == 2016


def made_up_generator() -> Any:
    """Codes that name their seed, so that rows tell whose they are."""

    def sample(seeds: range, psi: float) -> Tensor:
        numbers = torch.tensor([float(s - CALIBRATION_SEED) for s in seeds])
        return psi * numbers[:, None, None].expand(-1, 16, 4)

    return SimpleNamespace(sample=sample, num_ws=16)


def test_row_mixed_people_share_nobody() -> None:
    codes = sample_stratum(made_up_generator(), "row-mixed", 1.0, 40)
    cuts = set()
    for index, code in enumerate(codes):
        owners = code[:, 0].tolist()
        cut = owners.count(float(index))
        assert owners == [index] * cut + [index + 40] * (16 - cut)
        cuts.add(cut)
    assert cuts <= set(range(1, 16)) and len(cuts) > 8
    pure = sample_stratum(made_up_generator(), "W", 1.0, 40)
    assert (pure == torch.arange(40.0)[:, None, None]).all()
    with pytest.raises(ValueError, match="stratum"):
        sample_stratum(made_up_generator(), "Z", 1.0, 40)


def test_calibrations_survive_their_file(tmp_path: Path) -> None:
    one = Calibration("train", "W", 0.7, 0.15, 0.1, 0.44, 72, 2556)
    save_calibrations([one], tmp_path / "c.json")
    assert load_calibrations(tmp_path / "c.json") == (one,)


@pytest.mark.parametrize("text", ["", "[]", '{"calibrations": [{"judge": "x"}]}'])
def test_a_damaged_file_says_how_to_make_it_again(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(CheckpointError, match="calibrate_all"):
        load_calibrations(path)


def test_shipped_calibrations_are_complete_and_sensible() -> None:
    for psi in (0.7, 0.85, 1.0):
        for stratum in metrics.STRATA:
            train = calibration("train", stratum, psi)
            held_out = calibration("heldout", stratum, psi)
            for found in (train, held_out):
                assert found.n >= metrics.MIN_PAIRS
                assert found.s0 + found.spread < found.threshold < 1
            # The two cosines live on scales of their own.
            assert train.s0 < 0.35 and 0.75 < held_out.s0 < 0.95
    with pytest.raises(CheckpointError, match="choose from"):
        calibration("train", "W", 0.5)
