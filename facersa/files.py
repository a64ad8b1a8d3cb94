"""Files: read whole, written whole or not at all, and checked before long work."""

from __future__ import annotations

import errno
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from facersa.errors import FileError

PRIVATE = 0o600  # the owner reads and writes, nobody else
PREFIX = ".facersa-"  # of temporary names; eight hex digits follow
STALE = 3600  # seconds after which no write can still need its temporary file


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file.

    Raises:
        FileError: it is missing, a folder, or not readable.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise FileError(
            f"cannot read {path}: {error.strerror or error}; check the path."
        ) from error


def write_atomic(
    path: str | os.PathLike[str], data: bytes, *, private: bool = False
) -> None:
    """Write ``data`` to a new file, then give that file the name ``path``.

    Whatever happens, ``path`` holds its old content or all of the new one. Where the
    file system can, the new file has no name until it is complete, so even a killed
    write leaves nothing, except in the instant in which one file replaces another.
    There, and on other file systems, it may leave a temporary file, which a write to
    the same folder removes an hour later.

    A link stays, and the file that it leads to is replaced. That file keeps its
    permissions. A new file gets those of the umask, or, if ``private``, those of its
    owner only. At no time can others read what they cannot read in the end.

    Raises:
        FileError: as ``check_output``, or the disk is full.
    """
    target = _target(path)
    temporary = _temporary(target)
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else None
        first = PRIVATE if private or mode is not None else 0o666
        _remove_stale(target.parent)
        if not _write_nameless(target, temporary, data, mode, first):
            with open(
                temporary, "xb", opener=lambda name, flags: os.open(name, flags, first)
            ) as file:
                _fill(file, data)
            if mode is not None:
                os.chmod(temporary, mode)
            os.replace(temporary, target)
    except OSError as error:
        raise FileError(
            f"cannot write {path}: {error.strerror or error}; the path is as it was "
            "before: free some space or choose another folder."
        ) from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _write_nameless(
    target: Path, temporary: Path, data: bytes, mode: int | None, first: int
) -> bool:
    """Write to a file that gets its name at the end; False where that cannot be done.

    ``mode`` is that of the file to replace, if there is one, and ``first`` the one to
    make the new file with.
    """
    try:
        descriptor = os.open(target.parent, os.O_TMPFILE | os.O_WRONLY, first)
    except (AttributeError, OSError):  # not on this system, or this file system
        return False
    with open(descriptor, "wb") as file:
        _fill(file, data)
        if mode is not None:
            os.fchmod(descriptor, mode)
        name = target if mode is None else temporary
        try:
            # Only with src_dir_fd does Python follow the link, see man 2 open.
            os.link(f"/proc/self/fd/{descriptor}", name, src_dir_fd=descriptor)
        except OSError:  # no /proc, no links here, or the target is there by now
            return False
    if mode is not None:  # a link cannot replace a file
        os.replace(temporary, target)
    return True


def _fill(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _temporary(target: Path) -> Path:
    return target.with_name(PREFIX + secrets.token_hex(4))


def _remove_stale(folder: Path) -> None:
    """Remove what killed writes left in a folder, as far as that is possible."""
    for path in folder.glob(PREFIX + "[0-9a-f]" * 8):
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > STALE:
                path.unlink()


def _target(path: str | os.PathLike[str]) -> Path:
    """The file that writing to ``path`` makes or replaces: links are followed.

    A link that leads nowhere is refused, because more often than not its target was
    moved, or is not mounted. So is a link of another user in a folder of a third one,
    such as /tmp: it could lead to any file of ours.

    Raises:
        FileError: something other than a regular file is there, or the name does not
            fit.
    """
    target = Path(os.path.realpath(path)) if os.path.islink(path) else Path(path)
    if os.path.isdir(target):
        reason = "it is a folder; name a file in it"
    elif os.path.islink(path) and not os.path.exists(path):
        reason = "it is a link that leads nowhere; remove it or choose another name"
    elif os.path.islink(path) and _is_foreign(Path(path)):
        reason = "it is a link of another user; name the file that you mean"
    elif os.path.exists(path) and not os.path.isfile(path):
        reason = "it is not a regular file; name one, or one that does not exist"
    elif not (_fits(target) and _fits(_temporary(target))):
        reason = "its name is too long; choose a shorter one"
    else:
        return target
    raise FileError(f"cannot write {path}: {reason}.")


def _is_foreign(path: Path) -> bool:
    owner = path.lstat().st_uid
    return owner != path.parent.stat().st_uid and owner != os.geteuid()


def _fits(path: Path) -> bool:
    """Whether the system takes a name of this length; it alone knows the limits."""
    try:
        path.lstat()
    except OSError as error:
        return error.errno != errno.ENAMETOOLONG
    return True


def check_output(path: str | os.PathLike[str], *sources: str) -> Path:
    """The path of an output, checked before the work that fills it begins.

    Raises:
        FileError: its folder is missing or not writable; something other than a
            regular file is there, such as a folder, a device or a link that leads
            nowhere; its name is too long; it is "-"; or it is one of ``sources``, the
            inputs and other outputs.
    """
    output = Path(path)
    if str(output) == "-":
        raise FileError("cannot write to standard output; name a file.")
    if not os.path.isdir(output.parent) and _fits(output):
        raise FileError(
            f"cannot write {output}: the folder {output.parent} does not exist; "
            "create it first."
        )
    folder = _target(output).parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FileError(
            f"cannot write {output}: the folder {folder} is not writable; choose "
            "another."
        )
    inputs = [source for source in sources if os.path.exists(source)]
    if output.exists() and any(output.samefile(source) for source in inputs):
        raise FileError(f"{output} is the input itself; choose another name.")
    if os.path.realpath(output) in map(os.path.realpath, sources):
        raise FileError(f"{output} is named twice; choose another name for one.")
    return output


def make_folder(path: str | os.PathLike[str], mode: int = 0o777) -> Path:
    """A folder, with those above it, made where it is not there yet.

    Raises:
        FileError: it cannot be made, as where a file has that name.
    """
    folder = Path(path)
    try:
        folder.mkdir(mode, parents=True, exist_ok=True)
    except OSError as error:
        raise FileError(
            f"cannot make the folder {folder}: {error.strerror or error}; name another."
        ) from error
    return folder
