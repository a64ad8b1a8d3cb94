"""The statistics of w of any generator: shipped, or measured once and cached."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_checkpoints import save_stylegan2

from facersa.cipher.password import Password
from facersa.cipher.rotation import RotationCipher
from facersa.errors import AssetError
from facersa.generator.base import Generator
from facersa.generator.load import load_generator
from facersa.generator.statistics import WStatistics, whitening


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACERSA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tiny(tmp_path: Path) -> Generator:
    return load_generator(save_stylegan2(tmp_path / "stylegan2.pt"))


def test_those_of_the_shipped_generator_ship_too(
    generator: Generator, cache: Path
) -> None:
    shipped = WStatistics.load()
    assert WStatistics.of(generator).fingerprint() == shipped.fingerprint()
    assert not cache.exists()


def test_another_generator_is_measured_once(
    tiny: Generator, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = WStatistics.of(tiny, progress=False)
    assert [path.suffix for path in cache.iterdir()] == [".safetensors"]
    monkeypatch.setattr(WStatistics, "measure", None)  # any sampling fails
    again = WStatistics.of(tiny, progress=False)
    assert again.fingerprint() == first.fingerprint()
    w = tiny.map(torch.randn(4096, tiny.w_dim))
    covariance = torch.cov(first.whiten(w).T)
    torch.testing.assert_close(
        covariance, torch.eye(16, dtype=torch.float64), rtol=0, atol=0.2
    )
    torch.testing.assert_close(first.unwhiten(first.whiten(w)).float(), w)
    mean, axes = whitening(first, torch.device("cpu"))
    torch.testing.assert_close((w - mean) @ axes, first.whiten(w).float())


def test_other_weights_of_the_mapping_have_other_statistics(
    tiny: Generator, tmp_path: Path, cache: Path
) -> None:
    other = load_generator(save_stylegan2(tmp_path / "other.pt", seed=1))
    first, second = (WStatistics.of(g, progress=False) for g in (tiny, other))
    assert first.fingerprint() != second.fingerprint()
    assert len(list(cache.iterdir())) == 2


def test_a_damaged_file_is_named(tiny: Generator, cache: Path) -> None:
    WStatistics.of(tiny, progress=False)
    (path,) = cache.iterdir()
    path.write_bytes(b"damaged")
    with pytest.raises(AssetError, match=f"{path.name}.*delete this file"):
        WStatistics.of(tiny, progress=False)


def test_the_exact_cipher_edits_eighteen_rows_by_them(tiny: Generator) -> None:
    statistics = WStatistics.of(tiny, progress=False)
    cipher, code = RotationCipher(statistics), Password.random(seed=3).code
    ws = tiny.sample([1, 2])
    hidden = cipher(ws, code)
    rows = list(cipher.layers)
    others = [row for row in range(18) if row not in rows]
    assert torch.equal(hidden[:, others], ws[:, others])
    change = statistics.whiten(hidden[:, rows]) - statistics.whiten(ws[:, rows])
    assert change.norm(dim=-1).min() > 1  # of codes of length about 4 psi
    torch.testing.assert_close(cipher(hidden, -code), ws, rtol=0, atol=1e-5)
