"""Files: read whole, written whole or not at all, and checked before long work."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from facersa.errors import FileError


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


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to a temporary file beside ``path``, then rename it.

    Whatever happens, ``path`` holds its old content or all of the new one.

    Raises:
        FileError: the folder is missing or not writable, or the disk is full.
    """
    path = Path(path)
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = file.name
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise FileError(
            f"cannot write {path}: {error.strerror or error}; the path is as it was "
            "before: free some space or choose another folder."
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_output(path: str | os.PathLike[str], *sources: str) -> Path:
    """The path of an output, checked before the work that fills it begins.

    Raises:
        FileError: its folder is missing or not writable, or it is a folder or one
            of ``sources``, the inputs.
    """
    output = Path(path)
    if not output.parent.is_dir():
        raise FileError(
            f"cannot write {output}: the folder {output.parent} does not exist; "
            "create it first."
        )
    if output.is_dir():
        raise FileError(f"cannot write {output}: it is a folder; name a file in it.")
    if not os.access(output.parent, os.W_OK):
        raise FileError(
            f"cannot write {output}: the folder {output.parent} is not writable; "
            "choose another."
        )
    if any(output.exists() and output.samefile(s) for s in sources if Path(s).exists()):
        raise FileError(f"{output} is the input itself; choose another name.")
    return output
