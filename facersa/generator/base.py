"""What every generator offers, and what all of them do alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.ops import check_shape, pixel_norm

Painted = TypeVar("Painted")
PREVIEW_SIDE = 256


class Mapping(nn.Module):
    """Normalised z (B, width) to w (B, width): linear layers and leaky ReLU."""

    def __init__(self, width: int = 512, depth: int = 8) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``x`` to w."""
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2) * 2**0.5
        return x


@runtime_checkable
class Generator(Protocol):
    """Codes to pictures: z, then w, then W+ with one row per layer, then RGB.

    A generator is an nn.Module that also subclasses this and defines the methods that
    have no body here.

    Attributes:
        num_ws: rows of W+.
        w_dim: length of a row, and of z.
        resolution: side R of the full picture.
        w_avg: (w_dim,) mean of w, a buffer; its device is the generator's.
        mapping: the network from normalised z to w.
    """

    num_ws: int
    w_dim: int
    resolution: int
    w_avg: Tensor
    mapping: nn.Module

    def map(self, z: Tensor) -> Tensor:
        """Noise z (B, w_dim) to codes w (B, w_dim), no truncation."""
        check_shape(z, None, self.w_dim, name="z")
        return self.mapping(pixel_norm(z))

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Pull codes (..., w_dim) towards the mean: w_avg + psi (w - w_avg)."""
        return self.w_avg + psi * (w - self.w_avg)

    def broadcast(self, w: Tensor) -> Tensor:
        """One w (B, w_dim) in every row: W+ (B, num_ws, w_dim)."""
        check_shape(w, None, self.w_dim, name="w")
        return w[:, None].repeat(1, self.num_ws, 1)

    @torch.no_grad()
    def sample(self, seeds: Sequence[int], psi: float = 0.7) -> Tensor:
        """One person per seed: W+ codes (len(seeds), num_ws, w_dim).

        Each seed has its own random stream, so a person does not depend on the
        others that are drawn.
        """
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        z = torch.stack([torch.randn(self.w_dim, generator=s) for s in streams])
        return self.broadcast(self.truncate(self.map(z.to(self.w_avg)), psi))

    def synthesize(self, ws: Tensor) -> Tensor:
        """W+ (B, num_ws, w_dim) to pictures (B, 3, R, R), about in [-1, 1]."""

    def preview(self, ws: Tensor) -> Tensor:
        """W+ to pictures of side min(256, R): fast, approximate, differentiable."""

    def state_dict(self) -> dict[str, Any]:
        """All parameters and buffers by name, as of any module."""


def fast_on_cuda(
    generator: Generator, paint: Callable[[Tensor], Painted]
) -> Callable[[Tensor], Painted]:
    """``paint`` in bfloat16 and channels last, compiled where ws needs a gradient.

    On another device than CUDA, ``paint`` itself. ``paint`` calls the generator's
    networks on codes; compiling takes half a minute per batch size.
    """
    if generator.w_avg.device.type != "cuda":
        return paint
    if isinstance(generator, nn.Module):
        generator.to(memory_format=torch.channels_last)
    compiled = torch.compile(paint)

    def fast(ws: Tensor) -> Painted:
        with torch.autocast("cuda", torch.bfloat16):
            return compiled(ws) if ws.requires_grad else paint(ws)

    return fast
