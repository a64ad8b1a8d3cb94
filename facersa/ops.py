"""Small tensor operations shared by the networks.

The inverse Haar transform is how MobileStyleGAN grows its feature maps: four
wavelet bands of side S become one map of side 2S, with no interpolation.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def check_shape(tensor: Tensor, *shape: int | None, name: str = "tensor") -> None:
    """Raise ``ValueError`` unless ``tensor`` has ``shape`` (``None`` = any size)."""
    fits = tensor.ndim == len(shape) and all(
        want is None or have == want
        for have, want in zip(tensor.shape, shape, strict=True)
    )
    if not fits:
        want = ", ".join("*" if side is None else str(side) for side in shape)
        raise ValueError(
            f"{name} must have shape ({want}), got {tuple(tensor.shape)}; "
            "check what was passed in."
        )


def mixed(device: torch.device) -> torch.autocast:
    """A context with matrix products in bfloat16, if ``device`` has them in hardware.

    They take half the time, and weights stay in float32. A processor without them
    would take many times as long: there everything stays in float32.
    """
    able = device.type != "cpu" or any(
        torch.cpu.get_capabilities().get(name, False)
        for name in ("avx512_bf16", "amx_bf16")
    )
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


def pixel_norm(x: Tensor, dim: int = -1, eps: float = 1e-8) -> Tensor:
    """Divide by the root mean square over ``dim``; same shape as ``x``.

    ``eps`` sits inside the root, so the gradient at zero is finite.
    """
    return x * torch.rsqrt(x.square().mean(dim=dim, keepdim=True) + eps)


def haar_synthesis(bands: Tensor) -> Tensor:
    """Inverse Haar transform: (B, 4C, H, W) bands to a (B, C, 2H, 2W) map.

    Channels are ordered as MobileStyleGAN stores them: the C low-pass (LL)
    maps first, then LH, HL, HH for every output channel in turn.

    Raises:
        ValueError: the channels do not divide by four.

    Example:
        >>> haar_synthesis(torch.ones(1, 4, 1, 1)).tolist()
        [[[[2.0, 0.0], [0.0, 0.0]]]]
    """
    check_shape(bands, None, None, None, None, name="bands")
    batch, channels, height, width = bands.shape
    if channels % 4:
        raise ValueError(f"bands need 4 * C channels, got {channels}.")
    low = bands[:, : channels // 4]
    high = bands[:, channels // 4 :].reshape(batch, channels // 4, 3, height, width)
    lh, hl, hh = high.unbind(2)
    corners = torch.stack(
        [
            low + lh + hl + hh,
            low + lh - hl - hh,
            low - lh + hl - hh,
            low - lh - hl + hh,
        ],
        dim=2,
    )
    return F.pixel_shuffle(corners.reshape(batch, channels, height, width) * 0.5, 2)


def haar_analysis(image: Tensor) -> Tensor:
    """Forward Haar transform, the inverse of ``haar_synthesis``.

    (B, C, 2H, 2W) to (B, 4C, H, W), same order of channels.
    """
    check_shape(image, None, None, None, None, name="image")
    batch, channels, height, width = image.shape
    if height % 2 or width % 2:
        raise ValueError(f"image needs even sides, got {height} x {width}.")
    corners = F.pixel_unshuffle(image, 2)
    corners = corners.reshape(batch, channels, 4, height // 2, width // 2)
    tl, tr, bl, br = corners.unbind(2)
    high = torch.stack([tl + tr - bl - br, tl - tr + bl - br, tl - tr - bl + br], dim=2)
    return 0.5 * torch.cat([tl + tr + bl + br, high.flatten(1, 2)], dim=1)


def pixel_centres(height: int, width: int, like: Tensor) -> Tensor:
    """x and y of the centre of every pixel, (height, width, 2), from .5 on.

    ``like`` gives dtype and device.
    """
    sides = (torch.arange(side).to(like) + 0.5 for side in (height, width))
    return torch.stack(torch.meshgrid(*sides, indexing="ij"), -1).flip(-1)
