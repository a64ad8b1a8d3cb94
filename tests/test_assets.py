"""Tests of the cache of pretrained files; no network is used."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import threading
from pathlib import Path
from typing import Any

import pytest

from facersa import assets
from facersa.assets import ASSETS, Asset, Package
from facersa.errors import AssetError

CONTENT = b"network weights" * 1000
TOY = Package("pip", "toy", "1.0", "toy-1.0.tar.gz", 1000, "toy-1.0", "MIT")


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one asset, its archive put where a user would put it."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("FACERSA_CACHE", str(cache))
    (cache / "archives").mkdir(parents=True)
    (tmp_path / "net.bin").write_bytes(CONTENT)
    archive = cache / "archives" / TOY.archive
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tmp_path / "net.bin", "toy-1.0/net.bin")
    monkeypatch.setattr(assets, "ASSETS", {"net.bin": Asset(TOY, ("net.bin",))})
    sums = {
        TOY.archive: hashlib.sha256(archive.read_bytes()).hexdigest(),
        "net.bin": hashlib.sha256(CONTENT).hexdigest(),
    }
    monkeypatch.setattr(assets, "_sums", lambda: sums)
    monkeypatch.setattr(assets, "_verified", set())
    return cache


def left_over(cache: Path) -> set[str]:
    return {p.name for p in cache.iterdir()} - {"archives", ".lock"}


def test_every_listed_file_has_a_checksum_and_a_licence() -> None:
    for name, asset in ASSETS.items():
        for file in (name, asset.package.archive, *asset.members):
            assert len(assets.known_sha256(file)) == 64
        assert name in assets.licences()
    text = assets.licences()
    assert text.count("RESEARCH ONLY") == 2
    assert "StyleGAN2-FFHQ" in text


def test_an_archive_at_hand_is_used_and_checked(toy: Path) -> None:
    path = assets.asset_path("net.bin", progress=False)
    assert path.read_bytes() == CONTENT
    assert left_over(toy) == {"net.bin"}


def test_unknown_names_are_listed() -> None:
    with pytest.raises(AssetError, match="choose from"):
        assets.asset_path("nothing.onnx")


def test_a_tampered_archive_leaves_nothing(toy: Path) -> None:
    with (toy / "archives" / TOY.archive).open("ab") as file:
        file.write(b"x")
    with pytest.raises(AssetError, match="not the file it should be"):
        assets.asset_path("net.bin", progress=False)
    assert left_over(toy) == set()


def test_a_changed_cached_file_is_noticed(toy: Path) -> None:
    (toy / "net.bin").write_bytes(CONTENT + b"!")
    with pytest.raises(AssetError, match="delete it and run `facersa fetch`"):
        assets.asset_path("net.bin", progress=False)


def test_an_interrupted_fetch_leaves_nothing_and_the_next_one_works(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", stop)
        with pytest.raises(KeyboardInterrupt):
            assets.asset_path("net.bin", progress=False)
    assert left_over(toy) == set()
    assert assets.asset_path("net.bin", progress=False).read_bytes() == CONTENT


def test_a_full_disk_is_named(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(AssetError, match="No space left on device.*FACERSA_CACHE"):
        assets.asset_path("net.bin", progress=False)
    assert left_over(toy) == set()


def test_no_network_names_the_cure(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (toy / "archives" / TOY.archive).unlink()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(AssetError, match="check the network and try again.*archives"):
        assets.asset_path("net.bin", progress=False)
    assert left_over(toy) == set()


def test_threads_and_processes_may_fetch_at_once(toy: Path) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            assets.fetch(TOY, progress=False)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert assets.asset_path("net.bin").read_bytes() == CONTENT


def test_a_second_process_waits_for_the_first(toy: Path) -> None:
    """Holds the lock here and sees that another process does not go ahead."""
    code = (
        "from facersa import assets; from filelock import FileLock, Timeout\n"
        "import sys\n"
        "try:\n"
        "    FileLock(assets.cache_folder() / '.lock', timeout=0.3).acquire()\n"
        "except Timeout: sys.exit(7)\n"
    )
    from filelock import FileLock

    command = [sys.executable, "-c", code]
    with FileLock(toy / ".lock"):
        assert subprocess.run(command, check=False).returncode == 7
    assert subprocess.run(command, check=False).returncode == 0


def test_the_real_files_are_what_the_list_says() -> None:
    """Fetches whatever is missing: the one test that may use the network."""
    for name in ASSETS:
        path = assets.asset_path(name, progress=False)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        assert found == assets.known_sha256(name)
