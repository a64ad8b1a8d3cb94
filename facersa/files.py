"""Files: read whole, written whole or not at all, and checked before long work."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from facersa.errors import ImageError


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a file; ``ImageError`` names the path if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(
            f"cannot read {path}: {error.strerror or error}; check the path."
        ) from error


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` to ``path`` whole or not at all.

    Raises:
        ImageError: the folder is missing or not writable, or the disk is full.
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
        raise ImageError(
            f"cannot write {path}: {error.strerror or error}; nothing was left "
            "behind: free some space or choose another folder."
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def check_output(path: str, *sources: str) -> Path:
    """Fail before the long work, not after it."""
    output = Path(path)
    if not output.parent.is_dir():
        raise ImageError(f"the folder {output.parent} does not exist; make it first.")
    if output.is_dir():
        raise ImageError(f"{output} is a folder; name a file in it.")
    if not os.access(output.parent, os.W_OK):
        raise ImageError(f"the folder {output.parent} is not writable; choose another.")
    if any(output.exists() and output.samefile(s) for s in sources if Path(s).exists()):
        raise ImageError(f"{output} is the input itself; choose another name.")
    return output
