from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
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


def tarred(path: Path, files: Mapping[str, bytes] = FILES) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
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


SOURCE = Package("pip", "toy", "1.0", "toy-1.0.tar.gz", 100, "toy-1.0", "CC0")
SCRIPT = "raise SystemExit(open({!r}, 'w').write('the archive was run'))"


@pytest.fixture
def index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, list[str]]]:
    """Files of an index that pip is configured with, and what pip asked it for."""
    asked: list[str] = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    folder = tmp_path / "index"
    (folder / "simple" / "toy").mkdir(parents=True)
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Handler, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever).start()
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    yield folder, asked
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("configured", ["index", "links"])
def test_nothing_of_a_source_archive_is_run_or_downloaded_for_it(
    index: tuple[Path, list[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    configured: str,
) -> None:
    folder, asked = index
    ran, page, work = tmp_path / "ran", folder / "simple" / "toy", tmp_path / "work"
    work.mkdir()
    script = SCRIPT.format(str(ran)).encode()
    # A module of setuptools' name in the archive is not to be imported either.
    files = {f"toy-1.0/{name}.py": script for name in ("setup", "setuptools")}
    archive = tarred(page / SOURCE.archive, files)
    (page / "index.html").write_text(f'<a href="{archive.name}">{archive.name}</a>')
    if configured == "links":
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(page))
    sha256 = file_sha256(archive)
    found = download(SOURCE, sha256, work, tmp_path / "archives", progress=False)
    assert found.read_bytes() == archive.read_bytes()
    assert not ran.exists()
    assert all(path.startswith("/simple/toy/") for path in asked)
    assert bool(asked) == (configured == "index")


def test_an_index_with_another_archive_is_not_trusted(
    index: tuple[Path, list[str]], tmp_path: Path
) -> None:
    page, ran = index[0] / "simple" / "toy", tmp_path / "ran"
    script = SCRIPT.format(str(ran)).encode()
    archive = tarred(page / SOURCE.archive, {"toy-1.0/setup.py": script})
    (page / "index.html").write_text(f'<a href="{archive.name}">{archive.name}</a>')
    (tmp_path / "work").mkdir()
    with pytest.raises(AssetError, match="do not trust that index"):
        download(SOURCE, "0" * 64, tmp_path / "work", tmp_path, progress=False)
    assert not ran.exists()


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
