"""A pool of pictures that is painted once and kept."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from facersa.errors import CheckpointError
from facersa.files import write_atomic
from facersa.generator.base import Generator
from facersa.generator.openvino import FULL, Renderer
from facersa.photo.images import resize, to_uint8

TEACHER_PART = 50  # pictures rendered and kept together


def render_pool(
    generator: Generator,
    codes: Tensor,
    path: Path,
    *,
    kind: str = FULL,
    progress: bool = True,
) -> Tensor:
    """Pictures of ``codes`` at 256 x 256, uint8 (N, 256, 256, 3), kept.

    Full ones, shrunk, or previews, as ``kind`` says. Rendered in parts of 50 which
    are kept too, so a stopped run loses little.
    """
    renderer, parts = Renderer(generator), []
    starts = tqdm(
        range(0, len(codes), TEACHER_PART),
        desc="render",
        unit="50 pictures",
        disable=not progress,
    )
    for start in starts:
        part = path.with_name(f"{path.name}.{start:06d}.safetensors")
        chunk = codes[start : start + TEACHER_PART]
        if not part.exists():
            pictures = [to_uint8(resize(x, 256)) for x in renderer.stream(chunk, kind)]
            pixels = torch.cat([torch.from_numpy(p) for p in pictures])
            write_atomic(part, save({"pixels": pixels, "codes": chunk.cpu()}))
        kept = load_file(part)
        if not torch.equal(kept["codes"], chunk.cpu()):
            raise CheckpointError(
                f"{part} belongs to other settings; use another folder or delete it."
            )
        parts.append(kept["pixels"])
    return torch.cat(parts)
