"""Tests of the generator against the published OpenVINO networks."""

from __future__ import annotations

import copy
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch

from facersa.assets import registry as assets
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.judges.networks import load_identity
from facersa.photo.images import resize

SEEDS = range(8)


@pytest.fixture(scope="module")
def published() -> Iterator[dict[str, Any]]:
    """The two networks as published, run by OpenVINO in float32."""
    package = assets.RANDOM_FACE
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        archive = assets.archive_of(package, work, progress=False)
        with zipfile.ZipFile(archive) as files:
            files.extractall(work)
        core = ov.Core()
        yield {
            part: core.compile_model(
                work / package.folder / f"{part}Network.xml",
                "CPU",
                {"INFERENCE_PRECISION_HINT": "f32"},
            )
            for part in ("Mapping", "Synthesis")
        }


def z_of(seed: int) -> torch.Tensor:
    return torch.randn(1, 512, generator=torch.Generator().manual_seed(seed))


def test_eight_people_equal_the_published_network(
    generator: Generator, published: dict[str, Any]
) -> None:
    """To 1e-4, but for a handful of pixels where float32 itself is not that exact."""
    renderer = Renderer(generator)
    for seed in SEEDS:
        w = generator.map(z_of(seed))
        expected_w = published["Mapping"]([z_of(seed).numpy()])[0]
        np.testing.assert_allclose(w.numpy(), expected_w, atol=1e-4)
        w = generator.truncate(w, 0.7)
        expected = published["Synthesis"]([w.numpy()])[0]
        ws = generator.broadcast(w)
        for ours in (generator.synthesize(ws), renderer.full(ws)):
            error = np.abs(ours.numpy() - expected)
            assert error.mean() < 3e-6
            assert (error > 1e-4).mean() < 1e-4
            assert error.max() < 5e-4


def test_the_module_is_as_near_the_truth_as_the_published_network(
    generator: Generator, published: dict[str, Any]
) -> None:
    """Against the same sums in float64, for the person with the largest rounding."""
    w = generator.map(z_of(0))
    ws = generator.broadcast(w)
    exact = copy.deepcopy(generator.synthesis).double()(ws.double()).numpy()
    ours = np.abs(generator.synthesize(ws).numpy() - exact)
    theirs = np.abs(published["Synthesis"]([w.numpy()])[0] - exact)
    assert ours.mean() < theirs.mean() < 3e-6
    assert ours.max() < 5e-4 and theirs.max() < 5e-4


def test_a_seed_draws_the_noise_of_one_person(generator: Generator) -> None:
    expected = generator.broadcast(generator.truncate(generator.map(z_of(4)), 0.7))
    torch.testing.assert_close(generator.sample([4], 0.7), expected)


def test_mean_code_is_the_mean(generator: Generator) -> None:
    z = torch.randn(20_000, 512, generator=torch.Generator().manual_seed(99))
    error = (generator.map(z).mean(0) - generator.w_avg).norm()
    spread = generator.map(z).var(0).sum().sqrt()
    assert error < 0.02 * spread


@pytest.mark.parametrize("row", [0, 1, 8, 11, 12, 15])
def test_every_row_reaches_the_picture(generator: Generator, row: int) -> None:
    ws = generator.sample([1], 0.7)
    changed = ws.clone()
    changed[:, row] = generator.sample([2], 0.7)[:, row]
    renderer = Renderer(generator)
    difference = renderer.full(changed) - renderer.full(ws)
    assert difference.abs().mean() > 1e-3


def test_preview_is_faithful_on_people_never_trained_on(generator: Generator) -> None:
    codes = generator.sample(range(500, 512), 0.7)
    judge, renderer = load_identity(), Renderer(generator)
    full = torch.cat([resize(picture, 256) for picture in renderer.stream(codes)])
    with torch.no_grad():
        preview = generator.preview(codes)
        cosine = (judge.embed(preview) * judge.embed(full)).sum(1)
    low, wanted = resize(preview, 128), resize(full, 128)
    error = (low - wanted).square().mean()
    assert 1 - error / wanted.var(dim=(0, 2, 3)).mean() > 0.95
    assert cosine.mean() > 0.93


def test_preview_has_gradients_in_every_row(generator: Generator) -> None:
    ws = generator.sample([0], 0.7).requires_grad_(True)
    generator.preview(ws).square().mean().backward()
    assert ws.grad is not None
    assert (ws.grad[0].abs().amax(1) > 0).all()
