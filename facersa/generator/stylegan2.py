"""StyleGAN2, configuration F: the paper's generator, for a file you provide.

The paper edits W+ codes of StyleGAN2 trained on FFHQ (18 rows, 1024 x 1024).
Those weights are not in any package and are for non-commercial research, so
this file holds the network, written from the published architecture (Karras
et al. 2020, section 2 and appendix B), and a reader of the two formats the
weights circulate in.

Row 0 styles the 4 x 4 convolution. For the side 4 * 2^i, rows 2i - 1 and 2i
style its two convolutions and row 2i + 1 its RGB output, which therefore shares
a row with the first convolution of the next side.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.assets.pickles import read_torch_file, tensors_under
from facersa.errors import CheckpointError
from facersa.generator.base import PREVIEW_SIDE, Generator, Mapping
from facersa.ops import check_shape

MAPPING_LR = 0.01  # learning rate of the mapping, relative to the other layers
AVERAGE_SAMPLES = 10_000
MAX_SIDES = 10  # from 4 to 2048 pixels


def fir_kernel() -> Tensor:
    """The (4, 4) low-pass filter [1, 3, 3, 1] of both directions, with sum 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    return taps[:, None] * taps[None, :]


def low_pass(x: Tensor, pad: tuple[int, int]) -> Tensor:
    """Filter (B, C, H, W) maps whose every second pixel is zero.

    The gain of 4 makes up for the three zeros in four pixels. ``pad`` counts
    zeros before and after, in both directions; the result has side
    H + sum(pad) - 3.
    """
    channels = x.shape[1]
    kernel = (4 * fir_kernel()).to(x).expand(channels, 1, 4, 4)
    return F.conv2d(F.pad(x, (*pad, *pad)), kernel, groups=channels)


def upsample(x: Tensor) -> Tensor:
    """Double the side of (B, C, H, W): zeros between the pixels, then low-pass."""
    batch, channels, height, width = x.shape
    spread = x.new_zeros(batch, channels, height, 2, width, 2)
    spread[:, :, :, 0, :, 0] = x
    return low_pass(spread.reshape(batch, channels, 2 * height, 2 * width), (2, 1))


class ModulatedConv(nn.Module):
    """Convolution whose input channels are scaled by a linear function of w.

    The published form scales the weights of each sample by its style and
    divides each output channel by the norm of its scaled weights. Both are
    factors of a channel, so they are applied to the features instead: one
    ordinary convolution serves the whole batch.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        w_dim: int,
        *,
        kernel: int = 3,
        up: bool = False,
        demodulate: bool = True,
    ) -> None:
        super().__init__()
        weight = torch.randn(outputs, inputs, kernel, kernel)
        self.weight = nn.Parameter(weight / math.sqrt(inputs * kernel**2))
        self.style = nn.Linear(w_dim, inputs)
        nn.init.ones_(self.style.bias)
        self.up, self.demodulate = up, demodulate

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(B, inputs, S, S) and (B, w_dim) to (B, outputs, S, S), or 2S if ``up``."""
        weight, style = self.weight, self.style(w)
        x = x * style[:, :, None, None]
        if self.up:
            x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
            x = low_pass(x, (1, 1))
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.demodulate:
            norm = style.square() @ weight.square().sum((2, 3)).T
            x = x * torch.rsqrt(norm + 1e-8)[:, :, None, None]
        return x


class StyledConv(nn.Module):
    """Modulated convolution, fixed noise map, bias, leaky ReLU times sqrt(2)."""

    noise: Tensor

    def __init__(
        self, inputs: int, outputs: int, w_dim: int, side: int, *, up: bool
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, w_dim, up=up)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("noise", torch.randn(side, side))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(B, inputs, S, S) and (B, w_dim) to (B, outputs, side, side)."""
        x = self.conv(x, w) + self.noise * self.noise_strength
        return F.leaky_relu(x + self.bias[:, None, None], 0.2) * math.sqrt(2)


class ToRGB(nn.Module):
    """Features to RGB: a modulated 1 x 1 convolution, not demodulated, and bias."""

    def __init__(self, inputs: int, w_dim: int) -> None:
        super().__init__()
        self.conv = ModulatedConv(inputs, 3, w_dim, kernel=1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(B, inputs, S, S) and (B, w_dim) to (B, 3, S, S)."""
        return self.conv(x, w) + self.bias[:, None, None]


class StyleGAN2(nn.Module, Generator):
    """The generator of the paper.

    Args:
        channels: feature channels at the sides 4, 8, ..., resolution; at least two.
        w_dim: length of a row of W+.
        mapping_layers: depth of the mapping.
    """

    w_avg: Tensor

    def __init__(
        self,
        channels: Sequence[int],
        *,
        w_dim: int = 512,
        mapping_layers: int = 8,
    ) -> None:
        super().__init__()
        if len(channels) < 2:
            raise ValueError(f"channels needs two sides at least, got {len(channels)}.")
        self.w_dim = w_dim
        self.num_ws = 2 * len(channels)
        self.resolution = 4 * 2 ** (len(channels) - 1)
        self.mapping = Mapping(w_dim, mapping_layers)
        self.constant = nn.Parameter(torch.randn(channels[0], 4, 4))
        convs = [StyledConv(channels[0], channels[0], w_dim, 4, up=False)]
        for i in range(1, len(channels)):
            side = 4 * 2**i
            convs += [
                StyledConv(channels[i - 1], channels[i], w_dim, side, up=True),
                StyledConv(channels[i], channels[i], w_dim, side, up=False),
            ]
        self.convs = nn.ModuleList(convs)
        self.rgbs = nn.ModuleList(ToRGB(width, w_dim) for width in channels)
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def synthesize(self, ws: Tensor) -> Tensor:
        """W+ (B, num_ws, w_dim) to pictures (B, 3, R, R), about in [-1, 1]."""
        return self._paint(ws, self.resolution)

    def preview(self, ws: Tensor) -> Tensor:
        """W+ to pictures of side 256 (or R, if smaller), differentiable.

        Each side of StyleGAN2 adds to an RGB picture, so stopping early gives
        a smaller picture without its finest detail. Rows above it do nothing.
        """
        return self._paint(ws, min(PREVIEW_SIDE, self.resolution))

    def _paint(self, ws: Tensor, side: int) -> Tensor:
        check_shape(ws, None, self.num_ws, self.w_dim, name="ws")
        x = self.constant.expand(len(ws), -1, -1, -1)
        x = self.convs[0](x, ws[:, 0])
        image = self.rgbs[0](x, ws[:, 1])
        for i in range(1, side.bit_length() - 2):
            x = self.convs[2 * i - 1](x, ws[:, 2 * i - 1])
            x = self.convs[2 * i](x, ws[:, 2 * i])
            image = upsample(image) + self.rgbs[i](x, ws[:, 2 * i + 1])
        return image


def load_stylegan2(
    path: str | Path,
    device: str | torch.device = "cpu",
    content: dict[str, Any] | None = None,
) -> StyleGAN2:
    """A frozen StyleGAN2 from a local checkpoint, its size read from the file.

    Two formats are known, by their key names: the PyTorch port of Rosinality
    ("g_ema", mostly with "latent_avg"), and e4e or pSp checkpoints
    ("state_dict" with a "decoder." part, and "latent_avg"). Where the mean
    code is not stored it is estimated from 10,000 codes with a fixed seed.
    A file without noise maps gets none. No code in the file is ever run.
    ``content`` is what the file holds, if it has been read already.

    Raises:
        CheckpointError: the file is missing, damaged, of another format, or
            holds Python objects beside tensors and plain values.
    """
    content = read_torch_file(path) if content is None else content
    state = tensors_under(content, "g_ema")
    state = state or tensors_under(content, "state_dict", "decoder.")
    try:
        if not state:
            keys = ", ".join(sorted(map(str, content))[:5]) or "nothing"
            raise ValueError(f'neither "g_ema" nor "state_dict" but {keys}')
        model = _rebuild(state)
        average = tensors_under({"file": content}, "file", "latent_avg").get("")
    except CheckpointError:
        raise
    except (
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        RuntimeError,
    ) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{path} does not hold a StyleGAN2 generator in the known format "
            f"({reason}); give a rosinality or e4e checkpoint."
        ) from error
    model.to(device).eval().requires_grad_(False)
    if average is not None and average.shape[-1:] == (model.w_dim,):
        # e4e stores the same mean once for every row.
        model.w_avg.copy_(average.reshape(-1, model.w_dim).mean(0))
    else:
        stream = torch.Generator().manual_seed(0)
        z = torch.randn(AVERAGE_SAMPLES, model.w_dim, generator=stream)
        model.w_avg.copy_(model.map(z.to(model.w_avg)).mean(0))
    return model


def _rebuild(state: dict[str, Tensor]) -> StyleGAN2:
    """A network of the size that the tensors say, holding them."""
    blocks = sum(f"to_rgbs.{i}.bias" in state for i in range(len(state)))
    firsts = ["conv1", *(f"convs.{2 * i + 1}" for i in range(blocks))]
    channels = [len(state[f"{name}.activate.bias"]) for name in firsts]
    layers = sum(f"style.{i}.weight" in state for i in range(1, len(state)))
    w_dim = state["conv1.conv.modulation.weight"].shape[1]
    if blocks >= MAX_SIDES:
        raise ValueError(f"{blocks + 1} sides, of at most {MAX_SIDES}")
    with torch.device("meta"):  # no memory beside that of the file
        model = StyleGAN2(channels, w_dim=w_dim, mapping_layers=layers)
    for name, kernel in state.items():
        if name.endswith(".kernel") and not torch.allclose(
            kernel, 4 * fir_kernel(), atol=1e-4
        ):
            raise ValueError(f"{name} is not the [1, 3, 3, 1] filter of config F")
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    tensors = {"w_avg": torch.zeros(w_dim)}
    for ours, theirs in _names(len(channels), layers):
        if theirs.startswith("noises.") and theirs not in state:
            tensors[ours] = torch.zeros(shapes[ours])
        else:
            value = state[theirs]
            tensors[ours] = (value * _gain(theirs, value)).reshape(shapes[ours])
    model.load_state_dict(tensors, assign=True)
    return model


def _gain(name: str, value: Tensor) -> float:
    """The equalised learning rate's factor, which the network applies to a weight."""
    if name.startswith("style."):
        return MAPPING_LR * (value.shape[1] ** -0.5 if value.ndim == 2 else 1)
    if name.endswith("conv.weight"):  # (1, outputs, inputs, kernel, kernel)
        return value[0, 0].numel() ** -0.5
    return value.shape[1] ** -0.5 if name.endswith("modulation.weight") else 1


def _names(sides: int, mapping_layers: int) -> Iterator[tuple[str, str]]:
    """Pairs (our name, rosinality's name) of every tensor of the network."""
    shared = {
        "conv.weight": "conv.weight",
        "conv.style.weight": "conv.modulation.weight",
        "conv.style.bias": "conv.modulation.bias",
    }
    styled = shared | {"noise_strength": "noise.weight", "bias": "activate.bias"}
    yield "constant", "input.input"
    for i, part in product(range(mapping_layers), ("weight", "bias")):
        yield f"mapping.layers.{i}.{part}", f"style.{i + 1}.{part}"
    for i in range(2 * sides - 1):
        theirs = f"convs.{i - 1}" if i else "conv1"
        yield from ((f"convs.{i}.{a}", f"{theirs}.{b}") for a, b in styled.items())
        yield f"convs.{i}.noise", f"noises.noise_{i}"
    for i in range(sides):
        theirs = f"to_rgbs.{i - 1}" if i else "to_rgb1"
        yield from ((f"rgbs.{i}.{a}", f"{theirs}.{b}") for a, b in shared.items())
        yield f"rgbs.{i}.bias", f"{theirs}.bias"
