"""Files: written whole or not at all; every error names the path and the cure."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from kills import Values, writes

from facersa.errors import FileError
from facersa.files import check_output, make_folder, read_file, write_atomic
from facersa.photo.images import load_image

ROOT = Path(__file__).resolve().parent.parent
WAYS = ("nameless file", "named file")


@pytest.fixture(params=WAYS, autouse=True)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything holds for both ways of writing; not every system has the first."""
    if request.param == "named file":
        monkeypatch.delattr("os.O_TMPFILE", raising=False)
    return str(request.param)


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    write_atomic(path, b"first")
    write_atomic(str(path), b"second")
    assert read_file(path) == b"second"
    assert [one.name for one in tmp_path.iterdir()] == ["weights.bin"]


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


def test_an_output_has_a_name_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="standard output; name a file"):
        check_output("-")
    with pytest.raises(FileError, match="is named twice"):
        check_output(tmp_path / "new", str(tmp_path / "." / "new"))


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    assert make_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    for name in ("file", "file/inside"):
        with pytest.raises(FileError, match=f"cannot make the folder .*{name}: .*name"):
            make_folder(tmp_path / name)


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


def test_new_files_follow_the_umask_and_private_ones_do_not(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "encrypted.png", b"")
        write_atomic(tmp_path / "decrypted.png", b"", private=True)
    finally:
        os.umask(before)
    assert mode(tmp_path / "encrypted.png") == 0o640
    assert mode(tmp_path / "decrypted.png") == 0o600


@pytest.mark.parametrize("bits", [0o600, 0o644, 0o444, 0o666])
def test_an_existing_file_keeps_its_mode(tmp_path: Path, bits: int) -> None:
    path = tmp_path / "out.png"
    for private in (False, True):
        path.unlink(missing_ok=True)
        path.write_bytes(b"old")
        path.chmod(bits)
        write_atomic(path, b"new", private=private)
        assert (read_file(path), mode(path)) == (b"new", bits)


@pytest.mark.parametrize("old", [None, 0o600, 0o644])
def test_nobody_else_can_read_a_private_file_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: int | None
) -> None:
    path, seen = tmp_path / "out.png", []
    if old is not None:
        path.write_bytes(b"old")
        path.chmod(old)
    fsync, opened = os.fsync, os.open

    def spy_open(*arguments: object, **how: object) -> int:
        descriptor = opened(*arguments, **how)  # type: ignore[arg-type]
        seen.append(os.fstat(descriptor).st_mode & 0o777)
        return descriptor

    def spy_fsync(descriptor: int) -> None:
        seen.append(os.fstat(descriptor).st_mode & 0o777)
        fsync(descriptor)

    monkeypatch.setattr("os.open", spy_open)
    monkeypatch.setattr("os.fsync", spy_fsync)
    write_atomic(path, b"new", private=True)
    assert seen and set(seen) == {0o600}


def odd(folder: Path, kind: str) -> Path:
    """Something in ``folder`` that is not a regular file."""
    path = folder / "odd"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(path))
    elif kind == "dangling":
        path.symlink_to(folder / "nowhere.png")
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "link to a device":
        path.symlink_to("/dev/null")
    else:
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("fifo", "not a regular file; name one"),
        ("socket", "not a regular file; name one"),
        ("link to a device", "not a regular file; name one"),
        ("dangling", "leads nowhere; remove it"),
        ("loop", "leads nowhere; remove it"),
        ("folder", "it is a folder; name a file in it"),
    ],
)
def test_only_a_regular_file_is_replaced(
    tmp_path: Path, kind: str, message: str
) -> None:
    path = odd(tmp_path, kind)
    before = path.lstat()
    for refuse in (lambda: check_output(path), lambda: write_atomic(path, b"new")):
        with pytest.raises(FileError, match=f"cannot write {path}: .*{message}"):
            refuse()
    assert path.lstat().st_ino == before.st_ino and names(tmp_path) == ["odd"]


def test_a_device_is_not_replaced() -> None:
    with pytest.raises(FileError, match="/dev/null: it is not a regular file"):
        check_output(os.devnull)


def test_a_link_is_followed_and_stays(tmp_path: Path) -> None:
    pictures, links = tmp_path / "pictures", tmp_path / "links"
    pictures.mkdir()
    links.mkdir()
    target, link = pictures / "out.png", links / "latest.png"
    target.write_bytes(b"old")
    target.chmod(0o600)
    link.symlink_to("../pictures/out.png")
    assert check_output(link) == link
    write_atomic(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert mode(target) == 0o600
    assert names(pictures) == ["out.png"] and names(links) == ["latest.png"]
    with pytest.raises(FileError, match="is the input itself"):
        check_output(link, str(target))


def test_a_link_of_another_user_is_followed_in_the_users_own_folder_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, link = tmp_path / "out.png", tmp_path / "link.png"
    target.write_bytes(b"old")
    link.symlink_to(target)
    monkeypatch.setattr("os.geteuid", lambda: link.lstat().st_uid + 1)
    write_atomic(link, b"new")  # the folder's owner is the link's
    lstat = Path.lstat
    stranger = SimpleNamespace(st_uid=link.lstat().st_uid + 2)
    monkeypatch.setattr(Path, "lstat", lambda p: stranger if p == link else lstat(p))
    with pytest.raises(FileError, match="a link of another user; name the file"):
        write_atomic(link, b"newer")
    assert target.read_bytes() == b"new"


def test_the_longest_name_is_written_and_a_longer_one_refused(tmp_path: Path) -> None:
    most = os.pathconf(tmp_path, "PC_NAME_MAX")
    longest = tmp_path / ("é" * (most // 2) + "x" * (most % 2))
    write_atomic(check_output(longest), b"new")
    write_atomic(longest, b"newer")
    assert longest.read_bytes() == b"newer"
    deep = tmp_path
    while len(str(deep)) < os.pathconf(tmp_path, "PC_PATH_MAX") - 220:
        deep /= "d" * 200
        deep.mkdir()
    for path in (longest.with_name(longest.name + "x"), deep / ("x" * 230)):
        with pytest.raises(FileError, match="name is too long; choose a shorter"):
            check_output(path)
        with pytest.raises(FileError, match="cannot write"):
            write_atomic(path, b"")


def test_left_overs_of_killed_writes_are_removed_an_hour_later(tmp_path: Path) -> None:
    old, young, other = (
        tmp_path / name
        for name in (".facersa-0123abcd", ".facersa-4567abcd", ".facersa-notes")
    )
    for path in (old, young, other):
        path.write_bytes(b"")
    for path in (old, other):
        os.utime(path, (time.time() - 3700,) * 2)
    write_atomic(tmp_path / "out.png", b"new")
    assert names(tmp_path) == sorted([young.name, other.name, "out.png"])


def test_where_linking_is_refused_a_named_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    for content in (b"first", b"second"):
        write_atomic(tmp_path / "out.png", content)
        assert read_file(tmp_path / "out.png") == content
    assert names(tmp_path) == ["out.png"]


KILLED = """
import os, sys, time
from facersa.files import write_atomic
def slow(call):
    def slowed(*given, **named):
        print("writing", flush=True)
        time.sleep(60)
        return call(*given, **named)
    return slowed
setattr(os, sys.argv[2], slow(getattr(os, sys.argv[2])))
write_atomic(sys.argv[1], b"new" * 10**6, private=True)
"""


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="no nameless files here")
@pytest.mark.parametrize("way", WAYS[:1], indirect=True)
@pytest.mark.parametrize(
    ("call", "old"),
    [("fsync", False), ("link", False), ("fsync", True), ("fchmod", True)],
)
def test_a_killed_write_leaves_nothing(tmp_path: Path, call: str, old: bool) -> None:
    """SIGKILL in the midst of it; the file system itself drops a nameless file."""
    path = tmp_path / "out.png"
    if old:
        path.write_bytes(b"old")
    command = [sys.executable, "-c", KILLED, path, call]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        line = child.stdout.readline()
        child.kill()
    assert (line, child.returncode) == (b"writing\n", -signal.SIGKILL)
    assert names(tmp_path) == (["out.png"] if old else [])
    assert not old or path.read_bytes() == b"old"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="no nameless files here")
def test_kills_at_random_times_leave_whole_files_and_nothing_else(way: str) -> None:
    """But a named temporary file, where SIGKILL came and nameless ones cannot be."""
    values, kind = Values(), way.removesuffix(" file")
    writes(values, 12, random.Random(0), kind)
    for (_, case, figure, _), found in values.items():
        assert figure != "damaged" or not any(found), case
        assert figure != "ended" or all(found), case
        if figure == "left over" and not (kind == "named" and "SIGKILL" in case):
            assert not any(found), case
