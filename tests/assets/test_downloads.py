from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from facersa.assets.downloads import (
    Package,
    _explain,
    check_sha256,
    download,
    file_sha256,
    read_members,
)
from facersa.errors import AssetError

TOY = Package("pip", "toy", "1.0", "toy-1.0.zip", 100, "toy/data", "CC0")
FILES = {"toy/data/one.bin": b"first", "toy/data/two.bin": b"second"}


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in FILES.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in FILES.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_members_are_read_in_the_order_asked_for(
    tmp_path: Path, pack: Callable[[Path], Path]
) -> None:
    archive = pack(tmp_path / "archive")
    assert read_members(archive, TOY, ["two.bin", "one.bin"]) == [b"second", b"first"]
    with pytest.raises(AssetError, match=r"toy-1.0.zip lacks a file .*three.bin"):
        read_members(archive, TOY, ["three.bin"])


def test_a_damaged_archive_lacks_its_files(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.write_bytes(b"neither zip nor tar")
    with pytest.raises(AssetError, match="toy-1.0.zip lacks a file"):
        read_members(archive, TOY, ["one.bin"])


def test_an_archive_that_the_user_supplied_is_checked_too(tmp_path: Path) -> None:
    archives, work = tmp_path / "archives", tmp_path / "work"
    archives.mkdir()
    work.mkdir()
    data = zipped(archives / TOY.archive).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    found = download(TOY, sha256, work, archives, progress=False)
    assert found.parent == work and found.read_bytes() == data
    with pytest.raises(AssetError, match="is not used"):
        download(TOY, "0" * 64, work, archives, progress=False)


def test_digests(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    known = hashlib.sha256(b"content").hexdigest()
    assert file_sha256(path) == known
    check_sha256(file_sha256(path), known, "file")
    with pytest.raises(AssetError, match="not the expected file"):
        check_sha256(known, "0" * 64, "file")


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (
            "OSError: [Errno 28] No space left on device",
            "no space.*in cache for .*.*FACERSA_CACHE",
        ),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES", "do not trust that index"),
        ("note\nERROR: no route\nbye", "no route.*check the network.*archives"),
        ("", "no reason given.*check the network"),
    ],
)
def test_what_a_manager_says_becomes_one_line(log: str, message: str) -> None:
    with pytest.raises(AssetError, match=message):
        _explain(TOY, log, Path("cache/archives"))
