"""The generator by one name: the one that ships, or the one in a local file."""

from __future__ import annotations

from pathlib import Path

import torch

from facersa.generator.base import Generator
from facersa.generator.mobile_stylegan import load_mobile_stylegan
from facersa.generator.stylegan2 import load_stylegan2


def load_generator(
    file: str | Path | None = None, device: str | torch.device = "cpu"
) -> Generator:
    """A pretrained generator of faces, frozen, in evaluation mode.

    Args:
        file: a StyleGAN2 or e4e checkpoint (see ``load_stylegan2``), 18 rows if it
            is of FFHQ; without one, MobileStyleGAN with 16 rows.
        device: where it runs.

    Raises:
        CheckpointError: the file is missing, damaged or of another format.
        AssetError: MobileStyleGAN is neither cached nor can be fetched.
    """
    if file is None:
        return load_mobile_stylegan(device)
    return load_stylegan2(file, device)
