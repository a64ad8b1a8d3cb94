"""How old, and whether a man or a woman, somebody looks.

A small Xception network (Mandic's face-api, MIT), in PyTorch. It sees a picture, not a
person: what it says is of an appearance, in two classes and one number, and it errs.
The directions of the cipher ``steady`` come from it, and ``encrypt`` chooses by it
among codes, so that a face fits the body that it sits on: it is no held-out judge.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.assets.registry import load_tensors
from facersa.judges.networks import POSE_CROP, FrozenNetwork, crop_face

SIDE = 112
MEAN = (122.782, 117.001, 104.298)  # of red, green and blue, in levels


class Look(NamedTuple):
    """Of pictures (B,): logits, positive for a man; and ages in years."""

    male: Tensor
    age: Tensor


class SeparableConv(nn.Module):
    """A depthwise convolution, then one of 1 x 1 with a bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            inputs, inputs, 3, padding=1, groups=inputs, bias=False
        )
        self.pointwise = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return self.pointwise(self.depthwise(x)) + self.bias[:, None, None]


class ReductionBlock(nn.Module):
    """Two separable convolutions, halved, beside a strided 1 x 1 convolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.separable_conv0 = SeparableConv(inputs, outputs)
        self.separable_conv1 = SeparableConv(outputs, outputs)
        self.expansion_conv = nn.Conv2d(inputs, outputs, 1, stride=2)

    def forward(self, x: Tensor, start: Tensor | None = None) -> Tensor:
        """(B, inputs, 2H, 2W) to (B, outputs, H, W); ``start`` replaces relu(x)."""
        y = self.separable_conv0(F.relu(x) if start is None else start)
        y = self.separable_conv1(F.relu(y))
        # Padded on the right and below alone, as TensorFlow does.
        y = F.max_pool2d(F.pad(y, (0, 1, 0, 1), value=-torch.inf), 3, stride=2)
        return y + self.expansion_conv(x)


class MainBlock(nn.Module):
    """Three separable convolutions, added to their input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        for index in range(3):
            self.add_module(f"separable_conv{index}", SeparableConv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) to the same shape."""
        y = x
        for layer in self.children():
            y = layer(F.relu(y))
        return x + y


class TinyXception(nn.Module):
    """Levels (B, 3, 112, 112) to ``Look``; its names are those of the weights."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.entry_flow = nn.ModuleDict(
            {
                "conv_in": nn.Conv2d(3, 32, 3, stride=2),
                "reduction_block_0": ReductionBlock(32, 64),
                "reduction_block_1": ReductionBlock(64, 128),
            }
        )
        self.middle_flow = nn.ModuleDict(
            {f"main_block_{index}": MainBlock(128) for index in range(2)}
        )
        self.exit_flow = nn.ModuleDict(
            {
                "reduction_block": ReductionBlock(128, 256),
                "separable_conv": SeparableConv(256, 512),
            }
        )
        self.fc = nn.ModuleDict({"age": nn.Linear(512, 1), "gender": nn.Linear(512, 2)})
        mean = torch.tensor(MEAN, device="cpu")[:, None, None]
        self.register_buffer("mean", mean, persistent=False)

    def forward(self, x: Tensor) -> Look:
        """Judge pictures of 112 x 112."""
        x = (x - self.mean) / 255
        x = F.relu(self.entry_flow["conv_in"](F.pad(x, (0, 1, 0, 1))))
        x = self.entry_flow["reduction_block_0"](x, x)
        x = self.entry_flow["reduction_block_1"](x)
        for block in self.middle_flow.values():
            x = block(x)
        x = self.exit_flow["reduction_block"](x)
        x = F.relu(self.exit_flow["separable_conv"](x)).mean((2, 3))
        man, woman = self.fc["gender"](x).unbind(1)
        return Look(man - woman, self.fc["age"](x)[:, 0])


class LookJudge(FrozenNetwork):
    """Apparent gender and age of aligned faces; differentiable."""

    def look(self, images: Tensor) -> Look:
        """Of aligned faces (B, 3, R, R) in [-1, 1]."""
        return self.network((crop_face(images, POSE_CROP, SIDE) + 1) * 127.5)


def load_look(device: str | torch.device = "cpu") -> LookJudge:
    """The network with its published weights, frozen."""
    network = TinyXception()
    network.load_state_dict(load_tensors("look.safetensors"))
    return LookJudge(network).to(device)
