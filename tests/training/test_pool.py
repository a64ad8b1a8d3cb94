"""Tests of the pool: what a shard holds, and resuming."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from facersa.errors import CheckpointError
from facersa.generator.base import Generator
from facersa.generator.mobile_stylegan import MobileStyleGAN
from facersa.generator.parts import load_parser
from facersa.judges.networks import load_identity, load_landmarks, load_lpips
from facersa.training.pool import (
    FIELDS,
    Judged,
    PoolConfig,
    compiled,
    load_pool,
    make_pool,
    shard_path,
)

SMALL = PoolConfig(people=4, edits=1, shard=2)


@pytest.fixture(scope="module")
def judged(generator: Generator) -> Judged:
    assert isinstance(generator, MobileStyleGAN)
    judges = load_identity(), load_landmarks(), load_parser(), load_lpips("alex")
    return Judged(generator, *judges)


def test_answers_are_those_of_the_judges(judged: Judged) -> None:
    ws = judged.generator.sample([1, 2], 0.8)
    picture = judged.generator.preview(ws)
    answers = dict(zip(FIELDS, judged(ws), strict=True))
    close = torch.testing.assert_close
    close(answers["identity"], judged.identity.embed(picture), atol=1e-5, rtol=0)
    close(answers["landmarks"], judged.landmarks.landmarks(picture), atol=1e-5, rtol=0)
    close(answers["picture"], F.avg_pool2d(picture, 8), atol=1e-5, rtol=0)
    small = F.avg_pool2d(picture, 2)
    distance = float(judged.lpips(small[:1], small[1:]))
    a, b = answers["perceptual"]
    assert float((a - b).square().sum()) == pytest.approx(distance, rel=0.15)
    total = answers["parts"].sum(1)
    close(total, torch.ones_like(total), atol=1e-4, rtol=0)


def test_the_compiled_network_gives_the_same(judged: Judged) -> None:
    ws = judged.generator.sample([3], 0.8)
    for fast, slow in zip(compiled(judged)(ws), judged(ws), strict=True):
        assert fast.shape == slow.shape
        cosine = F.cosine_similarity(fast.flatten(), slow.flatten(), dim=0)
        assert cosine > 0.998  # bfloat16


@pytest.mark.slow
def test_a_pool_goes_on_where_it_was(judged: Judged, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="make one first"):
        load_pool(tmp_path)
    make_pool(judged, SMALL, tmp_path, progress=False, until=1)
    first = shard_path(tmp_path, 0)
    before, when = first.read_bytes(), first.stat().st_mtime_ns
    make_pool(judged, SMALL, tmp_path, progress=False)
    assert (first.read_bytes(), first.stat().st_mtime_ns) == (before, when)
    pool = load_pool(tmp_path)
    assert pool["ws"].shape == (4, 16, 512) and pool["rows"].shape == (4, 2, 4, 512)
    assert all(len(pool[name]) == 4 for name in FIELDS)
    assert torch.equal(pool["rows"][:, 0], pool["ws"][:, 5:9])
    assert not torch.equal(pool["rows"][:, 1], pool["ws"][:, 5:9])
    assert len(load_pool(tmp_path, 3)["ws"]) == 3
    other = PoolConfig(people=4, edits=2, shard=2)
    with pytest.raises(CheckpointError, match="other settings"):
        make_pool(judged, other, tmp_path, progress=False)
