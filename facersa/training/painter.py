"""Codes to pictures, and what the training judges see in them."""

from __future__ import annotations

from torch import Tensor

from facersa.generator.base import Generator, fast_on_cuda
from facersa.generator.mobile_stylegan import PREVIEW_BLOCKS, MobileStyleGAN
from facersa.generator.parts import BLOCKS as PARSED_BLOCKS
from facersa.generator.parts import GeneratorParser
from facersa.judges.bisenet import BiSeNet
from facersa.judges.networks import IdentityJudge, Landmarks
from facersa.training.critic import Texture
from facersa.training.losses import View


class Painter:
    """Codes to views through the generator and the training judges.

    On CUDA the generator runs in bfloat16, channels last, and compiled where there is
    something to learn.
    """

    def __init__(
        self,
        generator: Generator,
        identity: IdentityJudge,
        landmarks: Landmarks,
        parser: GeneratorParser | BiSeNet,
    ) -> None:
        self.generator, self.parser = generator, parser
        self.identity, self.landmarks = identity, landmarks
        self.look = Texture(identity)
        self.paint = fast_on_cuda(generator, self._paint)

    def _paint(self, ws: Tensor) -> tuple[Tensor, Tensor]:
        if isinstance(self.parser, BiSeNet):
            picture = self.generator.preview(ws)
            return picture, self.parser(picture)
        assert isinstance(self.generator, MobileStyleGAN)  # whose features are parsed
        synthesis = self.generator.synthesis
        x = features = synthesis.features(ws, PARSED_BLOCKS)
        for i in range(PARSED_BLOCKS, PREVIEW_BLOCKS):
            x = synthesis.blocks[i](x, ws[:, 1 + 2 * i], ws[:, 2 + 2 * i])
        picture = self.generator.head(*self.generator.head_inputs(x, ws))
        return picture, self.parser(features)

    def __call__(self, ws: Tensor, code: Tensor) -> View:
        """Paint ``ws`` (B, 16, 512) at 256 x 256 and look."""
        picture, parts = (x.float() for x in self.paint(ws))
        identity, texture = self.look(picture)
        points = self.landmarks.landmarks(picture)
        return View(code, identity, points, picture, parts, texture)
