"""From an aligned face to its code: the encoder's guess, and a search from there.

Three ways, from quick to careful: the encoder alone (about a second), the encoder and a
search from its guess, and a search from nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from facersa.generator.mobile_stylegan import Generator
from facersa.inversion.encoder import load_encoder
from facersa.inversion.search import PREVIEW_SIDE, ProjectConfig, project
from facersa.judges.networks import load_identity, load_lpips
from facersa.photo.images import resize


class Inverter:
    """The networks that an inversion needs, loaded once.

    Args:
        generator: whose codes are found; its device is where everything runs.
    """

    def __init__(self, generator: Generator) -> None:
        self.generator = generator
        self.device = generator.w_avg.device
        self.identity = load_identity(self.device)
        self.lpips = load_lpips("alex", self.device)
        self.encoder = load_encoder(self.identity, self.lpips, self.device)

    @torch.no_grad()
    def guess(self, image: Tensor) -> Tensor:
        """The encoder's code (1, 16, 512) of an aligned face (1, 3, R, R)."""
        return self.encoder.look_again(image.to(self.device), self.generator.preview)

    @torch.no_grad()
    def closest_guess(self, image: Tensor) -> Tensor:
        """Of a few guesses for a face (1, 3, R, R), the one whose picture is closest.

        By LPIPS at 256 x 256. They are what the encoder says at first, after one more
        look and after two; and that after one, its rows drawn halfway to their mean,
        that is towards W.

        Returns:
            A code (1, 16, 512).
        """
        image, shown = image.to(self.device), []

        def paint(ws: Tensor) -> Tensor:
            shown.append(self.generator.preview(ws))
            return shown[-1]

        guesses = self.encoder.looks(image, paint, 2)
        guesses.append(guesses[1].lerp(guesses[1].mean(1, keepdim=True), 0.5))
        for ws in guesses[2:]:  # the first two were looked at
            paint(ws)
        small = resize(image, PREVIEW_SIDE)
        far = [float(self.lpips(picture, small)) for picture in shown]
        return guesses[min(range(len(far)), key=far.__getitem__)]

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
        """The code (1, 16, 512), on the CPU, of an aligned face.

        Args:
            image: (1, 3, R, R) in [-1, 1].
            config: of the search; no steps at all leave the encoder's closest guess.
            guess: start from the encoder, or from nothing.
            through: what happens to a code before it is painted, see ``project``. A
                guess is of what is painted, so there must be none, and a search.
            rounded: to codes that can be stored, see there too.
            progress: show a bar.

        Raises:
            ValueError: ``through`` with a guess, or without steps.
        """
        if through is not None and (guess or not config.steps):
            raise ValueError("through needs guess=False and a search of some steps.")
        if not config.steps:
            found = self.closest_guess(image)
            return (found if rounded is None else rounded(found)).cpu()
        return project(
            self.generator,
            image.to(self.device),
            perceptual=self.lpips,
            embed=self.identity.embed,
            config=config,
            start=self.guess(image) if guess else None,
            through=through,
            rounded=rounded,
            progress=progress,
        ).ws.cpu()
