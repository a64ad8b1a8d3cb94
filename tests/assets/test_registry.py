"""Tests of the cache of pretrained files; no network is used."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from facersa.assets import registry as assets
from facersa.assets.downloads import Package
from facersa.assets.registry import ASSETS, Asset
from facersa.errors import AssetError

CONTENT = b"network weights" * 1000
TOY = Package("pip", "toy", "1.0", "toy-1.0.tar.gz", 1000, "toy-1.0", "MIT")


def use_toy(cache: Path) -> Package:
    """Make the toy package the only one, in this process."""
    archive = cache / "archives" / TOY.archive
    sums = {
        TOY.archive: hashlib.sha256(archive.read_bytes()).hexdigest(),
        "net.bin": hashlib.sha256(CONTENT).hexdigest(),
    }
    assets.ASSETS = {"net.bin": Asset(TOY, ("net.bin",))}
    assets._sums = lambda: sums  # type: ignore[assignment]
    assets._verified = set()
    return TOY


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one asset, its archive put where a user would put it."""
    cache = tmp_path / "cache"
    monkeypatch.setenv("FACERSA_CACHE", str(cache))
    (cache / "archives").mkdir(parents=True)
    (tmp_path / "net.bin").write_bytes(CONTENT)
    with tarfile.open(cache / "archives" / TOY.archive, "w:gz") as tar:
        tar.add(tmp_path / "net.bin", "toy-1.0/net.bin")
    for name in ("ASSETS", "_sums", "_verified"):
        monkeypatch.setattr(assets, name, getattr(assets, name))  # put back later
    use_toy(cache)
    return cache


def left_over(cache: Path) -> set[str]:
    return {p.name for p in cache.iterdir()} - {"archives", ".lock", "downloads"}


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
    with pytest.raises(AssetError, match="not the expected file"):
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


def test_of_several_at_once_one_fetches_and_the_others_wait(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[BaseException] = []
    downloads: list[Path] = []
    download = assets.archive_of

    def slowly(package: Package, work: Path, progress: bool) -> Path:
        downloads.append(work)
        time.sleep(0.3)
        return download(package, work, progress)

    monkeypatch.setattr(assets, "archive_of", slowly)

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
    assert len(downloads) == 1
    assert assets.asset_path("net.bin").read_bytes() == CONTENT


FETCH = """
import sys, time
from pathlib import Path
import test_registry
from facersa.assets import registry as assets
package = test_registry.use_toy(Path(sys.argv[1]))
download = assets.archive_of
def slowly(*arguments):
    Path(sys.argv[1], "downloads").open("a").write("one\\n")
    time.sleep(1)
    return download(*arguments)
assets.archive_of = slowly
assets.fetch(package, progress=False)
"""


def start_fetching(cache: Path) -> subprocess.Popen[bytes]:
    """Another process that fetches the toy package, for a second at least."""
    command = [sys.executable, "-c", FETCH, str(cache)]
    here = Path(__file__).parent
    paths = os.pathsep.join([str(here), str(here.parents[1])])
    environment = os.environ | {"PYTHONPATH": paths, "FACERSA_CACHE": str(cache)}
    return subprocess.Popen(command, env=environment)


def test_a_second_process_waits_and_then_finds_the_file(toy: Path) -> None:
    running = [start_fetching(toy) for _ in range(2)]
    assert [process.wait() for process in running] == [0, 0]
    assert (toy / "downloads").read_text() == "one\n"
    assert (toy / "net.bin").read_bytes() == CONTENT


def test_what_a_killed_fetch_left_is_removed_by_the_next_one(toy: Path) -> None:
    killed = start_fetching(toy)
    while not (toy / "downloads").exists():
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    (stale,) = left_over(toy)
    assert stale.startswith(assets.WORK)
    assets.fetch(TOY, progress=False)
    assert left_over(toy) == {"net.bin"}


def test_npm_is_told_offline_like_pip(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = replace(TOY, manager="npm", name="facersa-no-such-package")
    monkeypatch.setenv("npm_config_offline", "true")
    (toy / "archives" / TOY.archive).unlink()
    monkeypatch.setattr(assets, "ASSETS", {"net.bin": Asset(package, ("net.bin",))})
    with pytest.raises(AssetError, match="with npm .*check the network"):
        assets.asset_path("net.bin", progress=False)
    assert left_over(toy) == set()


def test_the_real_files_are_what_the_list_says() -> None:
    """Fetches whatever is missing: the one test that may use the network."""
    for name in ASSETS:
        path = assets.asset_path(name, progress=False)
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        assert found == assets.known_sha256(name)
