"""Readers of pickled weights; no code in a file is run.

PyTorch checkpoints are read with ``weights_only``; the one other pickled format is read
by an unpickler that builds arrays of plain numbers and nothing else.
"""

from __future__ import annotations

import argparse
import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from facersa.errors import AssetError, CheckpointError


def read_torch_file(path: str | Path) -> dict[str, Any]:
    """The dictionary in a PyTorch checkpoint, on the CPU; no code in it is run.

    Training options stored as ``argparse.Namespace`` are accepted: they hold plain
    values. A file that holds something else than a dictionary gives an empty one.

    Raises:
        CheckpointError: the file is missing or damaged, or holds Python objects
            other than tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path} is not a file; give the path of a PyTorch checkpoint."
        )
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > path.stat().st_size:
                raise ValueError(f"it unpacks to {size} bytes, more than it has")
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        reason = str(error).strip().partition("\n")[0]
        if isinstance(error, pickle.UnpicklingError):
            # PyTorch's own words tell how to run what is in the file.
            reason = "it is none, or holds more than tensors and plain values"
        raise CheckpointError(
            f"{path} cannot be read safely as a PyTorch checkpoint ({reason}); "
            "download it again, or save its tensors alone."
        ) from error
    return content if isinstance(content, dict) else {}


def tensors_under(
    content: Mapping[str, Any], key: str, prefix: str = ""
) -> dict[str, Tensor]:
    """The float32 tensors of ``content[key]`` whose names start with ``prefix``.

    The names are without the prefix; where there are none the dictionary is empty.

    Raises:
        CheckpointError: one of them is not an array of real numbers in the file.
    """
    part = content.get(key)
    if not isinstance(part, Mapping):
        return {}
    tensors = {
        name.removeprefix(prefix): value
        for name, value in part.items()
        if isinstance(value, Tensor)
        and isinstance(name, str)
        and name.startswith(prefix)
    }
    for name, value in tensors.items():
        if not _is_array(value):
            raise CheckpointError(
                f"the checkpoint's {name!r} is not an array of real numbers in the "
                "file; save it as a dense tensor."
            )
    return {name: value.float() for name, value in tensors.items()}


def _is_array(value: Tensor) -> bool:
    """Whether a tensor has a number in the file for each entry; a view may repeat."""
    dense = value.layout is torch.strided and value.device.type == "cpu"
    if not dense or value.is_complex() or value.is_quantized:
        return False
    return value.numel() * value.element_size() <= value.untyped_storage().nbytes()


class _Dtype:
    """The name of a dtype; numpy's own could be turned into one of objects."""

    def __init__(self, name: str, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        self.name = f"{state[1]}{self.name}"  # byte order first


class _Array:
    """A pickled numpy array, built by ``np.frombuffer`` from plain numbers."""

    def __init__(self, *_: object) -> None:
        self.values = np.zeros(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not re.fullmatch(r"[<>|=]?(f[248]|[iu][1248]|b1)", dtype.name):
            raise AssetError(
                f"the file holds an array of {dtype.name!r}, which is refused: plain "
                "numbers were expected, so it is not the file this program knows."
            )
        flat = np.frombuffer(data, dtype.name)
        self.values = flat.reshape(shape, order="F" if fortran else "C")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.values, dtype)


class _NumpyUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        match module.replace("numpy._core", "numpy.core"), name:
            case "numpy", "dtype":
                return _Dtype
            case ("numpy", "ndarray") | ("numpy.core.multiarray", "_reconstruct"):
                return _Array
            case "_codecs", "encode":  # how older pickles hold bytes
                return lambda text, _: text.encode("latin1")
        raise AssetError(
            f"the file asks for {module}.{name}, which is refused: it is not the file "
            "this program knows."
        )


def read_numpy_pickle(data: bytes) -> Any:
    """Unpickle nested containers of numeric arrays; anything else is refused.

    Each array comes as an object for ``np.asarray``.

    Raises:
        AssetError: the file asks for any other class or dtype, or is damaged.
    """
    try:
        for opcode, place, _ in pickletools.genops(data):
            # The unpickler makes a list as long as the largest of these numbers.
            if opcode.name.endswith("PUT") and int(place or 0) > len(data):
                raise ValueError(f"an object at place {place}")
        return _NumpyUnpickler(io.BytesIO(data)).load()
    except AssetError:
        raise
    except Exception as error:
        raise AssetError(
            f"the pickled weights are damaged ({error}); fetch the file again."
        ) from error
