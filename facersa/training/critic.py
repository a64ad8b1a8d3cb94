"""A critic of faces: does the skin look like one that the generator paints by itself?

A face may be found by every detector and have the right landmarks, and yet look worn:
codes that were moved too far give grey, blotched or scratched skin. A classifier sees
it in the first half of the identity network, and so a mapper can be taught to avoid it:
the adversarial loss of Goodfellow et al. 2014, with a linear critic on frozen features.
The picture classifier of the evaluation looks through another network (AlexNet, which
training hears of as LPIPS only).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.judges.networks import FrozenNetwork, IdentityJudge, tapped

# Nodes of the identity network, and their channels: 56 x 56, 28 x 28 and 14 x 14 maps.
TAPS = {"prelu_5": 128, "add_20": 64, "add_73": 128}

TEXTURE = 2 * sum(TAPS.values())  # mean and spread of each channel

LEAST = 0.01  # spread, so that a channel nobody has heard does not shout at once


class Texture(FrozenNetwork):
    """Identity and texture of faces, in one pass of the identity network."""

    def __init__(self, judge: IdentityJudge) -> None:
        network: Any = judge.network  # a graph, as onnx2torch makes it
        super().__init__(tapped(network, tuple(TAPS)))
        self.judge = judge

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Aligned faces (B, 3, R, R) to unit vectors (B, 512) and (B, TEXTURE)."""
        *maps, identity = self.network(self.judge.levels(self.judge.crop(images)))
        places = [tap.flatten(2) for tap in maps]
        texture = torch.cat([f(2) for x in places for f in (x.mean, x.std)], 1)
        return F.normalize(identity, dim=1), texture


class Critic(nn.Module):
    """A linear classifier of textures: positive where a face looks unencrypted."""

    mean: Tensor
    spread: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(TEXTURE, 1)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.register_buffer("mean", torch.zeros(TEXTURE))
        self.register_buffer("spread", torch.ones(TEXTURE))

    @torch.no_grad()
    def standardise(self, textures: Tensor) -> None:
        """Take mean and spread from ``textures`` (B, TEXTURE), B at least 2.

        No spread is less than ``LEAST``.
        """
        self.mean.copy_(textures.mean(0))
        self.spread.copy_(textures.std(0).clamp_min(LEAST))

    def forward(self, textures: Tensor, *, learns: bool = True) -> Tensor:
        """(B, TEXTURE) to logits (B,); ``learns=False`` keeps gradients from it."""
        standard = (textures - self.mean) / self.spread
        if learns:
            return self.linear(standard)[:, 0]
        weight, bias = self.linear.weight.detach(), self.linear.bias.detach()
        return F.linear(standard, weight, bias)[:, 0]

    def loss(self, plain: Tensor, made: Tensor, r1: float) -> Tensor:
        """Logistic loss of telling textures (B, TEXTURE) and (C, TEXTURE) apart.

        Plus r1 / 2 times the squared slope at plain ones (Mescheder et al. 2018), here
        by standardised textures: everywhere the same, the squared weight.
        """
        plain, made = self(plain.detach()), self(made.detach())
        told = F.softplus(-plain).mean() + F.softplus(made).mean()
        return told + r1 / 2 * self.linear.weight.square().sum()
