"""Tests of the fast path on a CPU."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from tiny_checkpoints import save_stylegan2

from facersa.generator.base import Generator
from facersa.generator.load import load_generator
from facersa.generator.openvino import PREVIEW, Renderer


def test_fast_pictures_equal_the_module(generator: Generator) -> None:
    renderer, ws = Renderer(generator), generator.sample([5, 6], 0.85)
    full = renderer.full(ws)
    assert full.shape == (2, 3, 1024, 1024)
    error = (full[1:] - generator.synthesize(ws[1:])).abs()
    assert error.mean() < 3e-6 and error.max() < 5e-4
    preview = renderer.preview(ws)
    assert preview.shape == (2, 3, 256, 256)
    assert (preview - generator.preview(ws)).abs().max() < 1e-3


def test_streaming_gives_one_picture_at_a_time(generator: Generator) -> None:
    stream = Renderer(generator).stream(generator.sample([1, 2, 3], 0.7), PREVIEW)
    assert [picture.shape[0] for picture in stream] == [1, 1, 1]


def test_the_traced_network_is_kept(generator: Generator) -> None:
    first, second = Renderer(generator), Renderer(generator)
    path = first._saved_full()
    stamp = path.stat().st_mtime_ns
    assert second._saved_full() == path
    assert path.stat().st_mtime_ns == stamp


def test_other_weights_get_a_network_of_their_own(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACERSA_CACHE", str(tmp_path))
    other = copy.deepcopy(generator)
    other.synthesis.rgb.bias.data += 0.1
    assert Renderer(other)._saved_full() != Renderer(generator)._saved_full()
    ws = generator.sample([1], 0.7)
    difference = Renderer(other).full(ws) - Renderer(generator).full(ws)
    assert difference.abs().mean() > 0.05


def test_results_do_not_share_memory(generator: Generator) -> None:
    renderer = Renderer(generator)
    first = renderer.preview(generator.sample([1], 0.7))
    kept = first.clone()
    renderer.preview(generator.sample([2], 0.7))
    assert torch.equal(first, kept)


def test_threads_may_share_one(generator: Generator) -> None:
    renderer, ws = Renderer(generator), generator.sample(range(12), 0.7)
    alone = renderer.preview(ws)
    with ThreadPoolExecutor(4) as threads:
        together = list(threads.map(renderer.preview, ws.split(1)))
    assert torch.equal(torch.cat(together), alone)


def test_any_generator_is_painted_and_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACERSA_CACHE", str(tmp_path / "cache"))
    files = [save_stylegan2(tmp_path / f"{seed}.pt", seed) for seed in (0, 1)]
    one, other = (load_generator(file) for file in files)
    renderer, ws = Renderer(one), one.sample([1])
    for fast, slow in (
        (renderer.full(ws), one.synthesize(ws)),
        (renderer.preview(ws), one.preview(ws)),
    ):
        assert fast.shape == slow.shape
        assert (fast - slow).abs().max() < 1e-5 * slow.abs().max()
    assert Renderer(one)._saved_full() == renderer._saved_full()
    assert Renderer(other)._saved_full() != renderer._saved_full()
