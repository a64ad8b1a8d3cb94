"""Tests of the encoder: trunk, pyramid, and what the trained one finds."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from facersa.encoder import (
    CHANNELS,
    FACE_BOX,
    SIDES,
    Encoder,
    Features,
    LinearRead,
    Pyramid,
    Trunk,
    _in_frame,
    load_encoder,
)
from facersa.generator import Generator
from facersa.images import resize
from facersa.judges import IdentityJudge, load_identity, load_lpips
from facersa.metrics import calibration
from facersa.rendering import Renderer
from facersa.rotation import WStatistics


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
    found = read.up(read.down((x - read.mean) / read.scale)).view(20, 16, 512)
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
    told = read.up(read.down((x - read.mean) / read.scale)).view(200, 16, 512)
    wide, narrow = told.std(0)[0, :2]
    assert wide > 5 * narrow


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
