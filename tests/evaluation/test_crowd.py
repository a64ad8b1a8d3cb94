"""Tests of the attacks on pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from facersa.cipher.catalogue import load_cipher
from facersa.errors import CheckpointError, FaceRSAError
from facersa.evaluation import crowd as crowd_module
from facersa.evaluation.crowd import (
    Crowd,
    attack_pictures,
    learned_metric,
    mean_direction,
    paint_crowd,
)
from facersa.evaluation.results import value
from facersa.generator.base import Generator
from facersa.judges.panel import Panel


def made_up(n: int = 60, known: float = 0.0) -> Crowd:
    """A crowd of random embeddings; ``known`` of a person shows when encrypted."""
    plain = {name: torch.randn(n, 16) for name in ("train", "heldout")}

    def shown(people: int, pictures: int) -> dict[str, torch.Tensor]:
        noise = torch.randn(people, pictures, 16)
        return {judge: known * x[:people, None] + noise for judge, x in plain.items()}

    return Crowd(plain, shown(n, 2), shown(min(n, 8), 16), torch.randn(2, n, 30))


def test_a_mean_leaves_out_who_was_not_detected() -> None:
    embeddings = torch.randn(3, 4, 8)
    embeddings[0, 1] = torch.nan
    mean = mean_direction(embeddings)
    expected = F.normalize(embeddings[0, [0, 2, 3]], dim=1).mean(0)
    torch.testing.assert_close(mean[0], expected)
    assert mean.isfinite().all()


def test_a_metric_learns_what_encryption_changes() -> None:
    """Here it changes eight numbers of sixteen beyond recognition, and no others."""
    plain = torch.randn(100, 16)
    encrypted = plain.clone()
    encrypted[:, :8] = 3 * torch.randn(100, 8)
    everybody = torch.arange(100)
    raw = F.normalize(encrypted) @ F.normalize(plain).T
    learned = learned_metric(encrypted, plain)
    shares = [(c.argmax(1) == everybody).float().mean() for c in (raw, learned)]
    assert shares[0] < 0.3 < 0.45 < shares[1]
    nothing = learned_metric(torch.randn(100, 16), plain)
    assert (nothing.argmax(1) == everybody).float().mean() < 0.1


def test_who_shows_is_found_and_who_does_not_is_not() -> None:
    cipher = load_cipher("rotation")
    shows, hidden = (
        attack_pictures(cipher, made_up(known=known)) for known in (3.0, 0.0)
    )
    for judge in ("train", "heldout"):
        for attack in ("find", "link", "learned metric"):
            rank = value(shows, attack, "one picture", "rank1", judge)
            assert rank.mean > 0.5 and rank.n == 60
            assert value(hidden, attack, "one picture", "rank1", judge).mean < 0.2
    assert shows["gallery"] == 60
    assert 0.3 < value(hidden, "detect", "120 pictures", "accuracy").mean < 0.7


def test_a_little_that_shows_adds_up() -> None:
    result = attack_pictures(load_cipher("rotation"), made_up(known=0.5))
    one = value(result, "find", "one picture", "rank1", "train").mean
    assert value(result, "find", "mean of 16 pictures", "rank1", "train").mean > one


def test_a_detector_learns_what_is_added() -> None:
    crowd = made_up()
    marked = crowd.features.clone()
    marked[1, :, :5] += 2
    result = attack_pictures(load_cipher("rotation"), replace(crowd, features=marked))
    assert value(result, "detect", "120 pictures", "accuracy").mean > 0.9


def test_too_small_a_crowd_is_refused() -> None:
    with pytest.raises(FaceRSAError, match="10 people with a detected face, got 4"):
        attack_pictures(load_cipher("rotation"), made_up(4))


@pytest.mark.slow
def test_a_crowd_is_painted_once(
    tmp_path: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facersa.evaluation.crowd.PASSWORDS", 3)
    cipher, panel, keep = load_cipher("steady"), Panel(), tmp_path / "crowd.safetensors"
    how = {"n": 3, "averaged": 1, "keep": keep, "progress": False}
    crowd = paint_crowd(cipher, generator, panel, **how)
    assert crowd.plain["train"].shape == (3, 512)
    assert crowd.encrypted["heldout"].shape == (3, 2, 128)
    assert crowd.many["train"].shape == (1, 3, 512)
    assert torch.equal(crowd.many["train"][:, :2], crowd.encrypted["train"][:1])
    same = F.cosine_similarity(crowd.plain["train"], crowd.encrypted["train"][:, 0])
    assert same.max() < 0.9
    before = keep.read_bytes()
    again = paint_crowd(cipher, generator, panel, **how)
    assert torch.equal(again.features, crowd.features) and keep.read_bytes() == before
    with pytest.raises(CheckpointError, match="another crowd"):
        paint_crowd(cipher, generator, panel, seed=1, **how)
    keep.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="delete it"):
        paint_crowd(cipher, generator, panel, **how)


class Painted:
    """Codes as their own pictures."""

    def __init__(self, generator: Generator) -> None:
        pass

    def stream(self, ws: torch.Tensor, _: Any) -> list[torch.Tensor]:
        return list(ws.split(1))


class Ears:
    """In place of a panel; stops after so many pictures."""

    def __init__(self, stop: int = 1000) -> None:
        self.left = stop
        self.identity = self.heldout = self

    def embed(self, face: torch.Tensor) -> torch.Tensor:
        return face[:, 4, :8]

    def features(self, face: torch.Tensor) -> torch.Tensor:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return face[0, 5, :6]


def test_a_stopped_crowd_goes_on_as_if_it_had_not(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd_module, "Renderer", Painted)
    monkeypatch.setattr(crowd_module, "PASSWORDS", 3)
    monkeypatch.setattr(crowd_module, "EVERY", 1)
    cipher, keep = load_cipher("rotation"), tmp_path / "crowd.safetensors"
    how: dict[str, Any] = {"n": 4, "averaged": 2, "progress": False}

    def paint(panel: Any, **more: Any) -> Crowd:
        return paint_crowd(cipher, generator, panel, **how | more)

    whole = paint(Ears())
    with pytest.raises(KeyboardInterrupt):
        paint(Ears(stop=5), keep=keep)  # two people, and half of the third
    rest = Ears()
    found = paint(rest, keep=keep)
    assert rest.left == 1000 - 4
    for name in ("plain", "encrypted", "many"):
        one, other = (getattr(made, name)["heldout"] for made in (found, whole))
        assert torch.equal(one, other)
    assert torch.equal(found.features, whole.features)
    with pytest.raises(CheckpointError, match="another crowd"):
        paint(Ears(), keep=keep, averaged=1)
