"""Files: written whole or not at all; every error names the path and the cure."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from facersa.errors import FileError
from facersa.files import check_output, read_file, write_atomic
from facersa.photo.images import load_image


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    write_atomic(path, b"first")
    write_atomic(str(path), b"second")
    assert read_file(path) == b"second"
    assert [one.name for one in tmp_path.iterdir()] == ["weights.bin"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.png", tmp_path):
        with pytest.raises(FileError, match=f"cannot read {path}: .*check the path"):
            read_file(path)
    with pytest.raises(FileError, match="nowhere.png"):
        load_image(tmp_path / "nowhere.png")


def test_a_missing_folder_is_an_error_of_the_file(tmp_path: Path) -> None:
    """Also for weights and JSON: nothing here knows what the bytes are."""
    path = tmp_path / "none" / "weights.safetensors"
    with pytest.raises(FileError, match=f"cannot write {path}: .*another folder"):
        write_atomic(path, b"")


def test_a_stop_while_writing_leaves_no_crumbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "out.png", b"new")
    assert list(tmp_path.iterdir()) == []


def test_full_disk_leaves_the_old_file_and_no_crumbs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(FileError, match="No space left"):
        write_atomic(target, b"new")
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none/out.png", "the folder .*none does not exist; create it first"),
        ("folder", "is a folder; name a file in it"),
        ("photo.png", "is the input itself; choose another name"),
        ("folder/../photo.png", "is the input itself"),
    ],
)
def test_an_output_is_checked_beforehand(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    photo = tmp_path / "photo.png"
    photo.write_bytes(b"photo")
    with pytest.raises(FileError, match=message):
        check_output(tmp_path / name, str(photo))
    good = tmp_path / "folder" / "out.png"
    assert check_output(good, str(photo), str(tmp_path / "no")) == good


def test_a_folder_that_is_not_writable_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(FileError, match=f"{tmp_path} is not writable; choose another"):
        check_output(tmp_path / "out.png")
