"""Tests of the encoder: trunk, pyramid, and what the trained one finds."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.generator.statistics import WStatistics
from facersa.inversion.encoder import (
    Encoder,
    LinearRead,
    Pyramid,
    load_encoder,
    refine,
)
from facersa.inversion.trunk import (
    CHANNELS,
    FACE_BOX,
    SIDES,
    Features,
    Trunk,
    _in_frame,
)
from facersa.judges.calibration import calibration
from facersa.judges.networks import IdentityJudge, load_identity, load_lpips
from facersa.photo.images import resize


@pytest.fixture(scope="module")
def identity() -> IdentityJudge:
    return load_identity()


@pytest.fixture(scope="module")
def lpips() -> torch.nn.Module:
    return load_lpips("alex")


@pytest.fixture(scope="module")
def trunk(identity: IdentityJudge, lpips: torch.nn.Module) -> Trunk:
    return Trunk(identity, lpips)


@pytest.fixture(scope="module")
def encoder(identity: IdentityJudge, lpips: torch.nn.Module) -> Encoder:
    return load_encoder(identity, lpips)


def some_features(count: int = 3) -> Features:
    rng = torch.Generator().manual_seed(0)
    maps = [
        torch.randn(count, CHANNELS[name], side, side, generator=rng)
        for name, side in SIDES.items()
    ]
    identity = F.normalize(torch.randn(count, 512, generator=rng), dim=1)
    return Features(*maps, identity)


def test_the_trunk_sees_what_its_networks_see(
    trunk: Trunk, identity: IdentityJudge, lpips: torch.nn.Module
) -> None:
    images = torch.rand(2, 3, 512, 512) * 2 - 1
    seen = trunk(images)
    shapes = [tuple(tensor.shape) for tensor in seen]
    assert shapes == [(2, 384, 8, 8), (2, 512, 16, 16), (2, 259, 16, 16), (2, 512)]
    torch.testing.assert_close(seen.identity, identity.embed(resize(images, 256)))
    levels = lpips.net(lpips.scaling_layer(resize(images, 256)))
    torch.testing.assert_close(seen.coarse[:, :256], resize(levels[4], 8))
    torch.testing.assert_close(seen.fine[:, -3:], resize(images, 16))
    assert not any(parameter.requires_grad for parameter in trunk.parameters())


def test_a_map_of_the_face_lies_where_the_face_is() -> None:
    """A ramp over the crop reads as the crop's own coordinate in the whole frame."""
    ramp = ((torch.arange(28) + 0.5) / 28).expand(1, 1, 28, 28)
    placed = _in_frame(ramp, 64)[0, 0]
    left, top, right, bottom = FACE_BOX
    for column in (20, 32, 45):
        expected = ((column + 0.5) / 64 - left) / (right - left)
        assert placed[32, column].item() == pytest.approx(expected, abs=1e-5)
    assert placed[:, int(64 * left) - 2].abs().max() == 0
    assert placed[int(64 * bottom) + 3].abs().max() == 0 == placed[0, 0]


def test_a_fresh_pyramid_corrects_nothing_and_learns_only_unlocked_rows() -> None:
    pyramid, features = Pyramid(), some_features()
    guess = pyramid(features).detach()
    assert guess.shape == (3, 16, 512)
    torch.testing.assert_close(guess, pyramid.read(features))
    (pyramid(features, unlocked=5) - guess - 1).square().sum().backward()
    learning = {
        row
        for row, layer in pyramid.offsets.items()
        if layer.weight.grad is not None and layer.weight.grad.abs().max() > 0
    }
    assert learning == {"1", "2", "3", "4"}
    assert pyramid.shared.weight.grad.abs().max() > 0


def test_standardised_features_have_mean_zero_and_unit_spread() -> None:
    pyramid, features = Pyramid(), some_features(64)
    shifted = Features(*(5 + 3 * x for x in features[:3]), identity=features.identity)
    pyramid.standardise(shifted)
    for name in CHANNELS:
        mean, scale = (getattr(pyramid, f"{name}_{k}") for k in ("mean", "scale"))
        torch.testing.assert_close(mean, torch.full_like(mean, 5), rtol=0, atol=0.4)
        torch.testing.assert_close(scale, torch.full_like(scale, 3), rtol=0, atol=0.4)


def test_the_linear_read_is_ridge_regression() -> None:
    """The dual form, cut to full rank, against the textbook's primal form."""
    rng = torch.Generator().manual_seed(0)
    read = LinearRead(rank=20)
    read.limit = 10.0  # beyond these numbers
    x = torch.randn(20, read.down.in_features, generator=rng, dtype=torch.float64)
    x[:, 60:] = 0  # so that the primal form is small
    z = torch.randn(20, 16, 512, generator=rng, dtype=torch.float64)
    axes = torch.linspace(2, 0.1, 512, dtype=torch.float64)
    read.double().fit(x, z, axes)
    few = (x - x.mean(0))[:, :60] / x.std(0)[:60]
    penalty = x.shape[1] * torch.eye(60, dtype=torch.float64)
    target = (z - z.mean(0)).flatten(1)
    weights = torch.linalg.solve(few.T @ few + penalty, few.T @ target)
    expected = (few @ weights + z.mean(0).flatten()).view(20, 16, 512)
    found = read.read(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_a_low_rank_keeps_what_shows_most_in_w() -> None:
    """Of two facts in the features, the one on the wide axis is kept."""
    rng = torch.Generator().manual_seed(1)
    read = LinearRead(rank=1)
    x = torch.randn(200, read.down.in_features, generator=rng)
    facts = x[:, :600].mean(1), x[:, 600:1200].mean(1)
    z = torch.zeros(200, 16, 512)
    z[:, :, 0], z[:, :, 1] = (50 * fact[:, None] for fact in facts)
    axes = torch.ones(512)
    axes[1] = 0.05
    read.fit(x, z, axes)
    told = read.read(x)
    wide, narrow = told.std(0)[0, :2]
    assert wide > 5 * narrow


def test_what_no_painted_face_has_moves_the_read_no_further() -> None:
    read = LinearRead(rank=4)
    far = torch.full((1, read.down.in_features), 3.0)
    assert torch.equal(read.read(far), read.read(100 * far))
    assert not torch.equal(read.read(far), read.read(0.9 * far))


def test_refining_undoes_the_shrinkage_of_the_encoder() -> None:
    """The error of an encoder that predicts half of everything falls step by step."""
    encoder = Encoder(nn.Identity(), Shrinking(), WStatistics.load())  # type: ignore[arg-type]
    true = torch.zeros(2, 16, 512)
    true[:, :, :3] = torch.tensor([[0.8, -0.5, 0.3], [-0.7, 0.2, 0.6]])[:, None]

    def paint(ws: torch.Tensor) -> torch.Tensor:  # a picture of one colour
        colour = WStatistics.load().whiten(ws).float()[:, :, :3].mean(1)
        return colour[:, :, None, None].expand(-1, -1, 64, 64)

    picture = paint(encoder.unwhiten(true))
    torch.testing.assert_close(paint(encoder(picture)), picture / 2)
    codes = refine(encoder, picture, paint, rounds=6)
    assert torch.equal(codes[0], encoder(picture)) and len(codes) == 7
    for step, ws in enumerate(codes):  # each leaves three quarters of the error
        expected = picture * (1 - 0.5 * 0.75**step)
        torch.testing.assert_close(paint(ws), expected, rtol=0, atol=1e-4)


class Shrinking(nn.Module):
    """Predicts half of what ``paint`` paints."""

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        z = torch.zeros(len(picture), 16, 512)
        z[:, :, :3] = picture.mean((2, 3))[:, None] / 2
        return z


def test_whitened_zero_is_the_mean_code(encoder: Encoder, generator: Generator) -> None:
    torch.testing.assert_close(
        encoder.unwhiten(torch.zeros(1, 512))[0], generator.w_avg, rtol=0, atol=1e-5
    )
    stats = WStatistics.load()
    w = generator.sample([3], 0.8)[0, :1]
    back = encoder.unwhiten(stats.whiten(w).float())
    torch.testing.assert_close(back, w, rtol=0, atol=1e-4)


def test_the_shipped_file_is_small_and_the_encoder_takes_any_size(
    encoder: Encoder, generator: Generator
) -> None:
    stored = sum(t.numel() for t in encoder.pyramid.state_dict().values())
    assert 2 * stored < 12e6
    picture = Renderer(generator).full(generator.sample([10_001], 0.7))
    found = encoder(picture)
    assert found.shape == (1, 16, 512) and not found.requires_grad
    torch.testing.assert_close(encoder(resize(picture, 256)), found)
    both = encoder(torch.cat([picture, picture.flip(3)]))
    torch.testing.assert_close(both[:1], found, rtol=0, atol=1e-3)


def test_it_finds_people_it_has_never_seen(
    encoder: Encoder, generator: Generator, identity: IdentityJudge
) -> None:
    """Far closer than strangers, by the training judge; the chapter has the rest."""
    renderer = Renderer(generator)
    ws = generator.sample(range(10_010, 10_014), 0.7)
    pictures = renderer.preview(ws)
    again = renderer.preview(encoder(pictures))
    cosine = (identity.embed(pictures) * identity.embed(again)).sum(1)
    found = calibration("train", "W", 0.7).identity(cosine)
    assert found.mean() > 0.3
    mean = generator.w_avg
    error = (encoder(pictures) - ws).square().mean() / (ws - mean).square().mean()
    assert error < 0.9
