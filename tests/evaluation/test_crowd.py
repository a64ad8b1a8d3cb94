"""Tests of the attacks on pictures."""

from __future__ import annotations

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
    diversity,
    learned_metric,
    mean_direction,
    paint_crowd,
)
from facersa.evaluation.results import value
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.judges.calibration import JUDGES
from facersa.judges.panel import Panel
from facersa.people import people


def made_up(n: int = 60, known: float = 0.0) -> Crowd:
    """A crowd of random embeddings; ``known`` of a person shows when encrypted."""
    plain = {name: torch.randn(n, 16) for name in JUDGES}

    def shown(people: int, pictures: int) -> dict[str, torch.Tensor]:
        noise = torch.randn(people, pictures, 16)
        return {judge: known * x[:people, None] + noise for judge, x in plain.items()}

    return Crowd(plain, shown(n * 2 // 3, 2), shown(min(n, 8), 8))


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
    for judge in JUDGES:
        for attack in ("find", "link", "learned metric"):
            rank = value(shows, attack, "one picture", "rank1", judge)
            assert rank.mean > 0.5 and rank.n == 40
            assert value(hidden, attack, "one picture", "rank1", judge).mean < 0.2
    assert shows["gallery"] == 60
    alike = [
        value(x, "diversity", "two passwords", "auc", "train") for x in (shows, hidden)
    ]
    assert alike[0].mean > 0.9 and 0.3 < alike[1].mean < 0.7


def test_a_little_that_shows_adds_up() -> None:
    result = attack_pictures(load_cipher("rotation"), made_up(known=0.5))
    one = value(result, "find", "one picture", "rank1", "train").mean
    assert value(result, "find", "mean of 8 pictures", "rank1", "train").mean > one


def test_diversity_counts_strangers_who_are_less_alike() -> None:
    """Against pairs one by one, as in the definition."""
    one, other = torch.randn(2, 6, 8)
    other[2] = torch.nan
    found = diversity(one, other)
    cosine = F.cosine_similarity(one[:, None], other[None], dim=2)
    apart = [(i, j) for i in range(6) for j in range(6) if i != j and j != 2]
    below = sum(cosine[pair] < cosine[0, 0] for pair in apart) / len(apart)
    assert found[0] == pytest.approx(float(below))
    assert [x != x for x in found] == [k == 2 for k in range(6)]


def test_too_small_a_crowd_is_refused() -> None:
    with pytest.raises(FaceRSAError, match="10 people with a detected face, got 2"):
        attack_pictures(load_cipher("rotation"), made_up(4))


@pytest.mark.slow
def test_a_crowd_is_painted_once(
    tmp_path: Path, generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("facersa.evaluation.crowd.PASSWORDS", 3)
    cipher, panel = load_cipher("steady"), Panel()
    how: dict[str, Any] = {"n": 3, "averaged": 1, "folder": tmp_path, "progress": False}
    crowd = paint_crowd(cipher, generator, panel, **how)
    assert crowd.plain["train"].shape == (3, 512)
    assert crowd.encrypted["heldout"].shape == (3, 2, 128)
    assert crowd.many["outside"].shape == (1, 3, 1024)
    assert torch.equal(crowd.many["train"][:, :2], crowd.encrypted["train"][:1])
    same = F.cosine_similarity(crowd.plain["train"], crowd.encrypted["train"][:, 0])
    assert same.max() < 0.9
    report = panel.report(
        Renderer(generator).preview(people(generator, "W", 0.85, 3)[:1])
    )
    for judge, embedding in report.identity.items():
        torch.testing.assert_close(crowd.plain[judge][0], embedding)
    keep = tmp_path / "crowd.safetensors"
    before = keep.read_bytes()
    again = paint_crowd(load_cipher("rotation"), generator, panel, **how)
    assert torch.equal(again.plain["train"], crowd.plain["train"])
    assert keep.read_bytes() == before
    assert not torch.equal(again.encrypted["train"], crowd.encrypted["train"])
    with pytest.raises(CheckpointError, match="another crowd"):
        paint_crowd(cipher, generator, panel, seed=1, **how)
    keep.write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="delete it"):
        paint_crowd(cipher, generator, panel, **how)


class Painted:
    """Codes as their own pictures."""

    def __init__(self, generator: Generator) -> None:
        self.generator = generator

    def stream(self, ws: torch.Tensor, _: Any) -> list[torch.Tensor]:
        return list(ws.split(1))


class Ears:
    """In place of a panel; stops after so many pictures."""

    def __init__(self, stop: int = 1000) -> None:
        self.left = stop

    def embeddings(self, face: torch.Tensor) -> dict[str, torch.Tensor]:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return {"heldout": face[0, 4, :8]}


def test_a_stopped_crowd_goes_on_as_if_it_had_not(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crowd_module, "Renderer", Painted)
    monkeypatch.setattr(crowd_module, "PASSWORDS", 3)
    monkeypatch.setattr(crowd_module, "EVERY", 1)
    cipher = load_cipher("rotation")
    how: dict[str, Any] = {"n": 5, "probes": 4, "averaged": 2, "progress": False}

    def paint(panel: Any, **more: Any) -> Crowd:
        return paint_crowd(cipher, generator, panel, **how | more)

    whole = paint(Ears())
    assert whole.plain["heldout"].shape == (5, 8)
    with pytest.raises(KeyboardInterrupt):
        paint(Ears(stop=10), folder=tmp_path)  # all in clear, one person, half of two
    rest = Ears()
    found = paint(rest, folder=tmp_path)
    assert rest.left == 1000 - 7
    for name in ("plain", "encrypted", "many"):
        one, other = (getattr(made, name)["heldout"] for made in (found, whole))
        assert torch.equal(one, other)
    with pytest.raises(CheckpointError, match="another crowd"):
        paint(Ears(), folder=tmp_path, averaged=1)
