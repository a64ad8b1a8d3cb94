"""Weights that only a model hub has: read safely from a file you provide.

Such files are PyTorch pickles. They are opened by PyTorch's own restricted
reader, which builds tensors and plain values and runs nothing.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from facersa.errors import CheckpointError


def read_torch_file(path: str | Path) -> dict[str, Any]:
    """The dictionary in a PyTorch checkpoint, on the CPU; no code in it is run.

    Training options stored as ``argparse.Namespace`` are accepted: they hold
    plain values. A file that holds no dictionary gives an empty one.

    Raises:
        CheckpointError: the file is missing or damaged, or holds Python objects
            beside tensors and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            f"{path} is not a file; give the path of a PyTorch checkpoint."
        )
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can raise nearly anything
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{path} cannot be read safely as a PyTorch checkpoint ({reason}); "
            "download it again, or save its tensors alone."
        ) from error
    return content if isinstance(content, dict) else {}


def tensors_under(
    content: Mapping[str, Any], key: str, prefix: str = ""
) -> dict[str, Tensor]:
    """Tensors of ``content[key]`` whose names start with ``prefix``, without it.

    As float32; empty where there are none.
    """
    part = content.get(key)
    if not isinstance(part, Mapping):
        return {}
    return {
        name.removeprefix(prefix): value.float()
        for name, value in part.items()
        if isinstance(value, Tensor) and str(name).startswith(prefix)
    }
