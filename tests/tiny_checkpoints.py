"""Tiny checkpoints in the published formats: 18 rows and 1024 x 1024, 8 channels.

Random weights under the names of the files of rosinality/stylegan2-pytorch and of
omertov/encoder4editing, so that the whole program can run on such files in tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

CHANNELS = (8,) * 9  # of the generator, at the sides 4 to 1024
W_DIM = 16
BLOCKS = (3, 4, 14, 3)  # of the published e4e trunk
WIDTHS = (16, 18, 33, 48)  # of a tiny one; all different
OPTIONS = {"encoder_type": "Encoder4Editing", "start_from_latent_avg": True}

Shapes = dict[str, tuple[int, ...]]


def stylegan2_tensors(
    channels: Sequence[int] = CHANNELS,
    w_dim: int = W_DIM,
    layers: int = 3,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Random tensors under the names and shapes of a rosinality generator."""
    stream = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=stream)

    def conv(name: str, inputs: int, outputs: int, kernel: int) -> dict[str, Tensor]:
        return {
            f"{name}.weight": random(1, outputs, inputs, kernel, kernel),
            f"{name}.modulation.weight": random(inputs, w_dim),
            f"{name}.modulation.bias": 1 + random(inputs),
        }

    def styled(name: str, inputs: int, outputs: int) -> dict[str, Tensor]:
        return conv(f"{name}.conv", inputs, outputs, 3) | {
            f"{name}.noise.weight": random(1),
            f"{name}.activate.bias": random(outputs),
        }

    def rgb(name: str, inputs: int) -> dict[str, Tensor]:
        return conv(f"{name}.conv", inputs, 3, 1) | {f"{name}.bias": random(1, 3, 1, 1)}

    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    kernel = torch.outer(taps, taps) / 16
    state: dict[str, Tensor] = {}
    for i in range(1, layers + 1):
        state[f"style.{i}.weight"] = random(w_dim, w_dim) * 100
        state[f"style.{i}.bias"] = random(w_dim) * 10
    state["input.input"] = random(1, channels[0], 4, 4)
    state |= styled("conv1", channels[0], channels[0]) | rgb("to_rgb1", channels[0])
    for i, width in enumerate(channels[1:]):
        state |= styled(f"convs.{2 * i}", channels[i], width)
        state |= styled(f"convs.{2 * i + 1}", width, width) | rgb(f"to_rgbs.{i}", width)
        state[f"convs.{2 * i}.conv.blur.kernel"] = kernel
        state[f"to_rgbs.{i}.upsample.kernel"] = kernel
    for i in range(2 * len(channels) - 1):
        side = 4 * 2 ** ((i + 1) // 2)
        state[f"noises.noise_{i}"] = random(1, 1, side, side)
    return state


def encoder_shapes(
    blocks: Sequence[int], widths: Sequence[int], rows: int, w_dim: int
) -> Shapes:
    """Names and shapes under "encoder." of an e4e checkpoint."""
    shapes: Shapes = {}

    def norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (width,)
        shapes[f"{name}.num_batches_tracked"] = ()

    shapes["input_layer.0.weight"] = (widths[0], 3, 3, 3)
    norm("input_layer.1", widths[0])
    shapes["input_layer.2.weight"] = (widths[0],)
    number, before = 0, widths[0]
    for count, width in zip(blocks, widths, strict=True):
        for _ in range(count):
            name = f"body.{number}"
            if before != width:
                shapes[f"{name}.shortcut_layer.0.weight"] = (width, before, 1, 1)
                norm(f"{name}.shortcut_layer.1", width)
            norm(f"{name}.res_layer.0", before)
            shapes[f"{name}.res_layer.1.weight"] = (width, before, 3, 3)
            shapes[f"{name}.res_layer.2.weight"] = (width,)
            shapes[f"{name}.res_layer.3.weight"] = (width, width, 3, 3)
            norm(f"{name}.res_layer.4", width)
            shapes[f"{name}.res_layer.5.fc1.weight"] = (width // 16, width, 1, 1)
            shapes[f"{name}.res_layer.5.fc2.weight"] = (width, width // 16, 1, 1)
            number, before = number + 1, width
    for row in range(rows):
        halvings = 4 if row < 3 else 5 if row < 7 else 6
        for i in range(halvings):
            inputs = w_dim if i else widths[3]
            shapes[f"styles.{row}.convs.{2 * i}.weight"] = (w_dim, inputs, 3, 3)
            shapes[f"styles.{row}.convs.{2 * i}.bias"] = (w_dim,)
        shapes[f"styles.{row}.linear.weight"] = (w_dim, w_dim)
        shapes[f"styles.{row}.linear.bias"] = (w_dim,)
    for i, width in ((1, widths[2]), (2, widths[1])):
        shapes[f"latlayer{i}.weight"] = (widths[3], width, 1, 1)
        shapes[f"latlayer{i}.bias"] = (widths[3],)
    return shapes


def encoder_tensors(
    blocks: Sequence[int] = BLOCKS,
    widths: Sequence[int] = WIDTHS,
    rows: int = 2 * len(CHANNELS),
    w_dim: int = W_DIM,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Random tensors, of a size that keeps signals about one through all layers."""
    stream = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in encoder_shapes(blocks, widths, rows, w_dim).items():
        value = torch.randn(shape, generator=stream)
        if name.endswith("num_batches_tracked"):
            value = torch.tensor(7)
        elif name.endswith("running_var"):
            value = 0.5 + value.square()
        elif len(shape) == 1 and name.endswith("weight"):
            value = 0.5 + 0.2 * value  # batch norm and PReLU
        elif len(shape) == 4:
            value = value * math.sqrt(2 / value[0].numel())
        elif not name.endswith("linear.weight"):
            value = value * 0.3
        tensors[name] = value
    return tensors


def save_stylegan2(path: Path, seed: int = 0) -> Path:
    """A file as rosinality's program writes it, without "latent_avg"."""
    torch.save({"g_ema": stylegan2_tensors(seed=seed)}, path)
    return path


def save_e4e(path: Path, seed: int = 0) -> Path:
    """A file as encoder4editing writes it: encoder, generator, mean and options."""
    parts = {"decoder": stylegan2_tensors(seed=seed), "encoder": encoder_tensors()}
    state = {
        f"{part}.{name}": value
        for part, tensors in parts.items()
        for name, value in tensors.items()
    }
    mean = torch.randn(W_DIM, generator=torch.Generator().manual_seed(seed))
    average = (mean / 4).repeat(2 * len(CHANNELS), 1)
    torch.save({"state_dict": state, "latent_avg": average, "opts": OPTIONS}, path)
    return path
