"""What training sees of a code: its picture, the judges' outputs, a critic's logits.

The critic asks: is this skin like that of plain, unencrypted faces? A face may pass
every detector, have the right landmarks, and yet look worn: codes that were moved too
far give grey, blotched or scratched skin. That shows in the first half of the identity
network, so a mapper can be taught to avoid it: the adversarial loss of Goodfellow et
al. 2014, with a linear critic on frozen features. The picture classifier of the
evaluation uses another network (AlexNet, which training uses in LPIPS only).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.generator.base import Generator, fast_on_cuda
from facersa.generator.mobile_stylegan import MobileStyleGAN
from facersa.generator.openvino import Renderer
from facersa.generator.parts import BLOCKS, GeneratorParser
from facersa.judges.bisenet import BiSeNet
from facersa.judges.networks import FrozenNetwork, IdentityJudge, Landmarks, tapped
from facersa.training.losses import View

# Nodes of the identity network, and their channels: 56 x 56, 28 x 28 and 14 x 14 maps.
TAPS = {"prelu_5": 128, "add_20": 64, "add_73": 128}
TEXTURE = 2 * sum(TAPS.values())  # mean and spread of each channel
LEAST = 0.01  # spread, so that a channel that hardly varies is not blown up


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
    """A linear classifier of textures: positive where a face looks plain."""

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
        """(B, TEXTURE) to logits (B,); ``learns=False`` gives no gradient to it."""
        standard = (textures - self.mean) / self.spread
        if learns:
            return self.linear(standard)[:, 0]
        weight, bias = self.linear.weight.detach(), self.linear.bias.detach()
        return F.linear(standard, weight, bias)[:, 0]

    def loss(self, plain: Tensor, encrypted: Tensor, r1: float) -> Tensor:
        """Logistic loss of classifying textures (B, TEXTURE) and (C, TEXTURE).

        Plus r1 / 2 times the squared gradient at plain ones (Mescheder et al. 2018),
        by standardised textures: everywhere the same, the squared weight.
        """
        plain, encrypted = self(plain.detach()), self(encrypted.detach())
        logistic = F.softplus(-plain).mean() + F.softplus(encrypted).mean()
        return logistic + r1 / 2 * self.linear.weight.square().sum()


@torch.no_grad()
def compare_previews(
    generator: Generator,
    identity: IdentityJudge,
    landmarks: Landmarks,
    codes: Mapping[str, Tensor],
    pairs: Mapping[str, tuple[str, str]],
) -> dict[str, float]:
    """What the training judges say of previews of codes (B, rows, 512), by name.

    The mean id_raw of each of ``pairs`` and, as "landmarks", how far those move from
    "I" to "Ie1", in sides.
    """
    renderer, device = Renderer(generator), generator.w_avg.device
    pictures = {k: renderer.preview(ws).to(device) for k, ws in codes.items()}
    embedded = {k: identity.embed(picture) for k, picture in pictures.items()}
    figures = {
        name: float((embedded[a] * embedded[b]).sum(1).mean())
        for name, (a, b) in pairs.items()
    }
    before, after = (landmarks.landmarks(pictures[k]) for k in ("I", "Ie1"))
    return {**figures, "landmarks": float((before - after).norm(dim=-1).mean())}


class Painter:
    """Codes to views: the generator paints previews, the training judges see them.

    On CUDA the generator runs in bfloat16, channels last, and compiled where gradients
    are needed.

    Args:
        generator: frozen.
        identity: training judge.
        landmarks: training judge.
        parser: a ``BiSeNet`` parses the picture, a ``GeneratorParser`` the features of
            the generator it was fitted to; None leaves the parts out.
    """

    def __init__(
        self,
        generator: Generator,
        identity: IdentityJudge,
        landmarks: Landmarks,
        parser: GeneratorParser | BiSeNet | None = None,
    ) -> None:
        self.generator, self.parser = generator, parser
        self.identity, self.landmarks = identity, landmarks
        self.texture = Texture(identity)
        self.paint = fast_on_cuda(generator, self._paint)

    def _paint(self, ws: Tensor) -> tuple[Tensor, Tensor | None]:
        if not isinstance(self.parser, GeneratorParser):
            picture = self.generator.preview(ws)
            return picture, None if self.parser is None else self.parser(picture)
        assert isinstance(self.generator, MobileStyleGAN)
        picture, features = self.generator.preview_and_features(ws, BLOCKS)
        return picture, self.parser(features)

    def __call__(self, ws: Tensor, code: Tensor) -> View:
        """Paint ``ws`` (B, rows, 512); ``code`` is its whitened edited rows."""
        picture, parts = self.paint(ws)
        picture = picture.float()
        identity, texture = self.texture(picture)
        landmarks = self.landmarks.landmarks(picture)
        parts = None if parts is None else parts.float()
        return View(code, identity, landmarks, picture, parts, texture)
