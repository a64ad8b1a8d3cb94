"""Inversions kept in a file, so that a photograph is searched once only.

A search takes most of the time of an encryption, and gives the same code whatever the
password, cipher or kind of file. The file holds codes of people in clear: it needs the
care that the photographs need.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from facersa.errors import FileError
from facersa.files import read_file, write_atomic
from facersa.photo.images import to_levels


class KeptInversions:
    """Codes (1, rows, D) by the face they are of and the way they were found.

    Args:
        path: a safetensors file; it is made when the first code is added.

    Raises:
        FileError: it is there and holds something else, or cannot be read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.codes = self._stored()

    def _stored(self) -> dict[str, Tensor]:
        if not self.path.exists():
            return {}
        try:
            return load(read_file(self.path))
        except SafetensorError as error:
            raise FileError(
                f"{self.path} holds no inversions ({error}); name another file, or one "
                "that --keep-inversion wrote."
            ) from error

    @staticmethod
    def key(image: Tensor, how: str) -> str:
        """A name for the code of an aligned face (1, 3, S, S) that was found so.

        ``how`` must tell everything else that the code depends on.
        """
        digest = hashlib.sha256(how.encode())
        digest.update(to_levels(image).contiguous().numpy().tobytes())
        return digest.hexdigest()

    def get(self, key: str, shape: tuple[int, ...]) -> Tensor | None:
        """The code of that name and shape, if it is kept and whole."""
        code = self.codes.get(key)
        whole = code is not None and code.shape == shape and code.isfinite().all()
        return code if whole else None

    def add(self, key: str, code: Tensor) -> None:
        """Keep a code; the file is replaced as a whole, for its owner's eyes only."""
        self.codes = self._stored()  # another program may have added some
        self.codes[key] = code.detach().cpu().contiguous()
        write_atomic(self.path, save(self.codes), private=True)
