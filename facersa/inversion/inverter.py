"""From an aligned face to its code: the encoder's guess, and a search from there.

Three ways, from quick to careful: the encoder alone (about a second), the encoder and a
search from its guess, and a search from nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from facersa.assets.pickles import read_torch_file
from facersa.errors import FaceRSAError
from facersa.generator.base import PREVIEW_SIDE, Generator
from facersa.generator.load import load_generator
from facersa.generator.mobile_stylegan import MobileStyleGAN
from facersa.generator.stylegan2 import load_stylegan2
from facersa.inversion.e4e import E4EEncoder, holds_e4e, load_e4e
from facersa.inversion.encoder import Encoder, load_encoder, refine
from facersa.inversion.search import ProjectConfig, project
from facersa.judges.networks import load_identity, load_lpips
from facersa.photo.images import resize


def load_backend(
    file: str | Path | None = None,
) -> tuple[Generator, E4EEncoder | None]:
    """The generator in a local file, and the encoder in it: what ``Inverter`` needs.

    Args:
        file: a StyleGAN2 checkpoint (no encoder), an e4e checkpoint (with its encoder)
            or a pSp checkpoint (its encoder is not used); None for the generator that
            ships, whose encoder ``Inverter`` loads itself.

    Raises:
        CheckpointError: as ``load_stylegan2`` and ``load_e4e``.
    """
    if file is None:
        return load_generator(), None
    content = read_torch_file(file)
    if holds_e4e(content):
        encoder, generator = load_e4e(file, content=content)
        return generator, encoder
    return load_stylegan2(file, content=content), None


class Inverter:
    """The networks that an inversion needs, loaded once.

    Args:
        generator: whose codes are searched; its device is where everything runs.
        encoder: of this generator, as ``load_backend`` gives it. Without one,
            MobileStyleGAN gets the encoder that ships, and for another generator
            every search starts from nothing.
    """

    encoder: Encoder | E4EEncoder | None

    def __init__(self, generator: Generator, encoder: E4EEncoder | None = None) -> None:
        self.generator = generator
        self.device = generator.w_avg.device
        self.identity = load_identity(self.device)
        self.lpips = load_lpips("alex", self.device)
        self.encoder = encoder
        if encoder is None and isinstance(generator, MobileStyleGAN):
            self.encoder = load_encoder(self.identity, self.lpips, self.device)

    @torch.no_grad()
    def guess(self, image: Tensor) -> Tensor:
        """The encoder's code (1, num_ws, w_dim) of an aligned face (1, 3, R, R).

        That of the shipped encoder is refined once, which was chosen on photographs;
        that of e4e is taken as it is.

        Raises:
            FaceRSAError: there is no encoder.
        """
        image = image.to(self.device)
        if isinstance(self.encoder, Encoder):
            return refine(self.encoder, image, self.generator.preview)[-1]
        return self._encoder()(image)

    @torch.no_grad()
    def closest_guess(self, image: Tensor) -> Tensor:
        """Of four guesses for a face (1, 3, R, R), the one whose picture is closest.

        By LPIPS at 256 x 256. The guesses are the encoder's code, that after one and
        two steps of ``refine``, and that after one step with its rows moved halfway to
        their mean, that is towards W.

        Returns:
            A code (1, num_ws, w_dim).

        Raises:
            FaceRSAError: there is no encoder.
        """
        image, pictures = image.to(self.device), []

        def paint(ws: Tensor) -> Tensor:
            pictures.append(self.generator.preview(ws))
            return pictures[-1]

        guesses = refine(self._encoder(), image, paint, 2)
        guesses.append(guesses[1].lerp(guesses[1].mean(1, keepdim=True), 0.5))
        for ws in guesses[2:]:  # the first two were painted
            paint(ws)
        target = resize(image, PREVIEW_SIDE)
        distances = [
            float(self.lpips(resize(picture, PREVIEW_SIDE), target))
            for picture in pictures
        ]
        return guesses[min(range(len(guesses)), key=distances.__getitem__)]

    def _encoder(self) -> Encoder | E4EEncoder:
        if self.encoder is None:
            raise FaceRSAError(
                "this generator has no encoder, so there is no guess without a search; "
                "give 1 step or more, or an e4e checkpoint, which has an encoder."
            )
        return self.encoder

    def find(
        self,
        image: Tensor,
        *,
        config: ProjectConfig = ProjectConfig(),  # noqa: B008 - frozen
        guess: bool = True,
        through: Callable[[Tensor], Tensor] | None = None,
        rounded: Callable[[Tensor], Tensor] | None = None,
        progress: bool = True,
    ) -> Tensor:
        """The code (1, num_ws, w_dim), on the CPU, of an aligned face.

        Args:
            image: (1, 3, R, R) in [-1, 1].
            config: of the search; 0 steps return the encoder's closest guess.
            guess: start from the encoder, if there is one, or from nothing.
            through: applied to a code before it is painted, see ``project``. A guess
                would be of the painted code, so it needs ``guess=False`` and a search.
            rounded: to codes that can be stored, see ``project``.
            progress: show a bar.

        Raises:
            ValueError: ``through`` with a guess, or without steps.
            FaceRSAError: no steps and no encoder.
        """
        if through is not None and (guess or not config.steps):
            raise ValueError(
                "through needs guess=False and a search of 1 step or more."
            )
        if not config.steps:
            ws = self.closest_guess(image)
            return (ws if rounded is None else rounded(ws)).cpu()
        return project(
            self.generator,
            image.to(self.device),
            perceptual=self.lpips,
            embed=self.identity.embed,
            config=config,
            start=self.guess(image) if guess and self.encoder is not None else None,
            through=through,
            rounded=rounded,
            progress=progress,
        ).ws.cpu()
