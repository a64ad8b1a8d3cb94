"""e4e (Tov et al. 2021), the paper's encoder, for users who have the checkpoint.

It gives the whole setting of the paper, 18 rows and 1024 x 1024, from one file::

    encoder, generator = load_e4e("e4e_ffhq_encode.pt")
    cipher = RotationCipher(WStatistics.of(generator))
    code = Password.random().code
    ws = encoder(align(load_image("photo.jpg")).image)
    other_face = generator.synthesize(cipher(ws, code))  # back: cipher(..., -code)

An IR-SE50 face recognition trunk (Deng et al. 2019, Hu et al. 2018) feeds a pyramid
of three maps. Each row of W+ has a head on one of them: the head of row 0 predicts w0,
the others predict offsets from it, kept small by training. Names of layers are those of
the checkpoint, as omertov/encoder4editing writes it. No package carries such a file.

The published weights descend from the data set FFHQ and from StyleGAN2: they are for
non-commercial research only.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.assets.pickles import read_torch_file, tensors_under
from facersa.errors import CheckpointError
from facersa.generator.stylegan2 import StyleGAN2, load_stylegan2
from facersa.ops import check_shape
from facersa.photo.images import resize

SIDE = 256  # of the network's input
BLOCKS, WIDTHS = (3, 4, 14, 3), (64, 128, 256, 512)  # of IR-SE50, by stage
REDUCTION = 16  # of channels inside squeeze-and-excitation
MIDDLE_ROW, FINE_ROW = 3, 7  # the first rows read from the middle and the fine map
SIDES = {"coarse": SIDE // 16, "middle": SIDE // 8, "fine": SIDE // 4}
ENCODER_TYPE = "Encoder4Editing"  # pSp uses the same names for another encoder


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    """A convolution of the trunk: no bias, the side divided by ``stride``."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class SqueezeExcitation(nn.Module):
    """Each channel multiplied by a gate, computed from the means of all channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = conv(width, width // REDUCTION, 1)
        self.fc2 = conv(width // REDUCTION, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        means = x.mean((2, 3), keepdim=True)
        return x * torch.sigmoid(self.fc2(F.relu(self.fc1(means))))


class Bottleneck(nn.Module):
    """A residual block of IR-SE50; where the width stays, the shortcut subsamples."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if inputs != outputs:
            self.shortcut_layer = nn.Sequential(
                conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            conv(inputs, outputs, 3),
            nn.PReLU(outputs),
            conv(outputs, outputs, 3, stride),
            nn.BatchNorm2d(outputs),
            SqueezeExcitation(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H / stride, W / stride)."""
        return self.shortcut_layer(x) + self.res_layer(x)


class StyleHead(nn.Module):
    """Strided convolutions down to one pixel and a linear layer: one row of W+."""

    def __init__(self, inputs: int, w_dim: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(side.bit_length() - 1):
            width = w_dim if i else inputs
            layers += [nn.Conv2d(width, w_dim, 3, 2, padding=1), nn.LeakyReLU(0.01)]
        self.convs = nn.Sequential(*layers)
        self.linear = nn.Linear(w_dim, w_dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, side, side) to (B, w_dim)."""
        return self.linear(self.convs(x).flatten(1))


def level(row: int) -> str:
    """The map of the pyramid that a row is read from."""
    if row < MIDDLE_ROW:
        return "coarse"
    return "middle" if row < FINE_ROW else "fine"


def grow_and_add(small: Tensor, large: Tensor) -> Tensor:
    """(B, C, S, S), enlarged with its corner pixels aligned, plus (B, C, 2S, 2S)."""
    size = large.shape[-2:]
    return large + F.interpolate(small, size, mode="bilinear", align_corners=True)


class E4EEncoder(nn.Module):
    """Aligned faces to W+ codes in one pass.

    Args:
        blocks: number of blocks in each of the trunk's four stages.
        widths: feature channels of the four stages, each unlike the one before.
        num_ws: rows of W+: 18 for a generator of side 1024.
        w_dim: length of a row.

    Attributes:
        w_avg: (num_ws, w_dim), added to every result; a buffer.
    """

    w_avg: Tensor

    def __init__(
        self,
        blocks: Sequence[int] = BLOCKS,
        widths: Sequence[int] = WIDTHS,
        num_ws: int = 18,
        w_dim: int = 512,
    ) -> None:
        super().__init__()
        self.num_ws, self.w_dim = num_ws, w_dim
        stem, fine, middle, coarse = widths
        self.input_layer = nn.Sequential(
            conv(3, stem, 3), nn.BatchNorm2d(stem), nn.PReLU(stem)
        )
        body: list[nn.Module] = []
        for before, width, count in zip((stem, *widths), widths, blocks, strict=False):
            body.append(Bottleneck(before, width, 2))
            body += [Bottleneck(width, width, 1) for _ in range(count - 1)]
        self.body = nn.Sequential(*body)
        self.taps = tuple(end - 1 for end in accumulate(blocks))[1:]
        self.latlayer1 = nn.Conv2d(middle, coarse, 1)
        self.latlayer2 = nn.Conv2d(fine, coarse, 1)
        self.styles = nn.ModuleList(
            StyleHead(coarse, w_dim, SIDES[level(row)]) for row in range(num_ws)
        )
        self.register_buffer("w_avg", torch.zeros(num_ws, w_dim))

    def forward(self, images: Tensor) -> Tensor:
        """Aligned faces (B, 3, R, R) in [-1, 1], any R, to ws (B, num_ws, w_dim).

        Pictures are resized to 256 x 256 here, by means over areas; the authors'
        program used Pillow's bilinear filter.

        Raises:
            ValueError: another shape.
        """
        side = images.shape[-1]
        check_shape(images, None, 3, side, side, name="images")
        x = self.input_layer(resize(images, SIDE))
        features = []
        for i, block in enumerate(self.body):
            x = block(x)
            if i in self.taps:
                features.append(x)
        fine, middle, coarse = features
        maps = {"coarse": coarse}
        maps["middle"] = grow_and_add(coarse, self.latlayer1(middle))
        maps["fine"] = grow_and_add(maps["middle"], self.latlayer2(fine))
        w0, *offsets = (head(maps[level(row)]) for row, head in enumerate(self.styles))
        return torch.stack([w0, *(w0 + offset for offset in offsets)], 1) + self.w_avg


def load_e4e(
    path: str | Path,
    device: str | torch.device = "cpu",
    content: dict[str, Any] | None = None,
) -> tuple[E4EEncoder, StyleGAN2]:
    """Encoder and generator of a local e4e checkpoint, frozen, sizes as in the file.

    The file has "state_dict" with the parts "encoder." and "decoder.", "latent_avg"
    and "opts". The mean code "latent_avg" is added to the encoder's output, unless
    the options say that it was trained without. No code in the file is ever run.
    ``content`` is what the file holds, if it has been read already.

    Raises:
        CheckpointError: the file is missing, damaged, of another format, or holds
            Python objects beside tensors and plain values.
    """
    content = read_torch_file(path) if content is None else content
    try:
        encoder = _rebuild(content)
        generator = load_stylegan2(path, device, content)
        ours, theirs = ((net.num_ws, net.w_dim) for net in (encoder, generator))
        if ours != theirs:
            raise ValueError(f"expected {theirs} rows and entries, got {ours}")
    except CheckpointError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(
            f"{path} does not hold the e4e encoder in the known format "
            f"({reason[:240]}); give a checkpoint of encoder4editing trained on faces, "
            "such as e4e_ffhq_encode.pt."
        ) from error
    return encoder.to(device).eval().requires_grad_(False), generator


def holds_e4e(content: Mapping[str, Any]) -> bool:
    """Whether a checkpoint has an encoder, and not one of another type."""
    kind = _options(content).get("encoder_type", ENCODER_TYPE)
    return kind == ENCODER_TYPE and bool(
        tensors_under(content, "state_dict", "encoder.")
    )


def _options(content: Mapping[str, Any]) -> Mapping[str, Any]:
    opts = content.get("opts")
    options = vars(opts) if isinstance(opts, argparse.Namespace) else opts
    return options if isinstance(options, Mapping) else {}


def _rebuild(content: Mapping[str, Any]) -> E4EEncoder:
    """An encoder of the size that the tensors say, holding them."""
    state, options = tensors_under(content, "state_dict", "encoder."), _options(content)
    if not state:
        keys = ", ".join(sorted(map(str, content))[:5]) or "nothing"
        raise ValueError(f'expected "encoder." tensors in "state_dict", got {keys}')
    kind = options.get("encoder_type", ENCODER_TYPE)
    if kind != ENCODER_TYPE:
        raise ValueError(f"expected an encoder of type {ENCODER_TYPE}, got {kind}")
    with torch.device("meta"):  # no memory beside that of the file
        encoder = E4EEncoder(**_sizes(state))
    for name in [name for name in state if name.endswith("linear.weight")]:
        state[name] = state[name] / math.sqrt(encoder.w_dim)  # equalised learning rate
    shape: tuple[int, ...] = (encoder.num_ws, encoder.w_dim)
    state["w_avg"] = torch.zeros(shape)
    if options.get("start_from_latent_avg", True):
        average = content.get("latent_avg")
        size = tuple(average.shape) if isinstance(average, Tensor) else ()
        # Training stores the mean once for every row, converted files just once.
        if size not in (shape, (1, *shape[1:]), shape[1:]):
            raise ValueError(
                f'expected "latent_avg" of shape {shape}, got {size or "none"}'
            )
        state["w_avg"] += content["latent_avg"]
    encoder.load_state_dict(state, assign=True)
    return encoder


def _sizes(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of ``E4EEncoder``, from names and shapes."""

    def count(name: str) -> int:
        return sum(name.format(i) in state for i in range(len(state)))

    total, rows = count("body.{}.res_layer.3.weight"), count("styles.{}.linear.weight")
    # A stage begins where the width changes: there the shortcut has weights.
    wider = [i for i in range(total) if f"body.{i}.shortcut_layer.0.weight" in state]
    firsts = [0, *wider] if total else []
    widths = [state[f"body.{i}.res_layer.3.weight"].shape[0] for i in firsts]
    if len(widths) != len(WIDTHS) or min(widths) < REDUCTION or not rows:
        raise ValueError(
            f"expected {len(WIDTHS)} stages of at least {REDUCTION} channels and a "
            f"head for each row, got stages of {widths} and {rows} heads"
        )
    return {
        "blocks": [b - a for a, b in pairwise([*firsts, total])],
        "widths": widths,
        "num_ws": rows,
        "w_dim": state["styles.0.linear.weight"].shape[0],
    }
