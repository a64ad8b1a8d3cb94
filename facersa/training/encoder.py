"""Training the encoder: painted faces in, their codes out.

First the linear read is fitted in closed form, to the larger part of the people. Then
gradient descent trains the pyramid on the others, where the read's errors are honest.
The code itself is a target, once as it is and once by how much of the error would show.
The generator also paints the predicted code, and that picture has to look like the one
that went in, by the losses of e4e: pixels, LPIPS, identity. Offsets are unlocked row
after row and kept small, and a discriminator of single rows keeps them where the
generator's own rows are (Tov et al. 2021, section 5).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from tqdm import tqdm

from facersa.generator.base import fast_on_cuda
from facersa.generator.mobile_stylegan import MobileStyleGAN
from facersa.generator.openvino import Renderer
from facersa.generator.statistics import WStatistics, cosine_basis
from facersa.inversion.encoder import Encoder, Pyramid
from facersa.inversion.trunk import Features, Trunk
from facersa.judges.networks import IdentityJudge
from facersa.people import training_codes, training_seeds
from facersa.sealing.compact import CompactCode
from facersa.training.augment import DAMAGE, SCENES, augment
from facersa.training.loop import TrainConfig, seeded, stored
from facersa.training.losses import total
from facersa.training.recipes import EncoderRecipe

PART = 200  # pictures augmented together for the linear read
TOGETHER = 16  # pictures painted and read at once: memory stays below 4 GB
READ_SHARE, READ_MOST = 5 / 6, 10_000  # of the people, for fitting the linear read
MEASURED = 24  # people, plain ones and encrypted ones


def row_critic(width: int = 256) -> nn.Sequential:
    """Discriminator of whitened rows (..., 512): logits (..., 1), positive if real."""
    return nn.Sequential(
        nn.Linear(512, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, width),
        nn.LeakyReLU(0.2),
        nn.Linear(width, 1),
    )


class EncoderTask:
    """Train the pyramid of an encoder.

    Args:
        generator: frozen.
        identity: training judge, also part of the trunk, for the face.
        lpips: with AlexNet, also part of the trunk, for the whole picture.
        recipe: data and weights.
        seed: of the initial weights.
    """

    name = "encoder"

    def __init__(
        self,
        generator: MobileStyleGAN,
        identity: IdentityJudge,
        lpips: nn.Module,
        recipe: EncoderRecipe,
        *,
        seed: int = 0,
    ) -> None:
        self.generator, self.recipe, self.lpips = generator, recipe, lpips
        self.identity, self.device = identity, generator.w_avg.device
        self.stats = WStatistics.load()
        self.paint = fast_on_cuda(generator, generator.preview)
        with seeded(seed):
            self.pyramid, self.row_critic = Pyramid(), row_critic()
        self.encoder = Encoder(Trunk(identity, lpips), self.pyramid, self.stats)
        self.encoder.to(self.device)
        # Fitted in closed form; by descent it would only memorise its pictures.
        self.pyramid.read.requires_grad_(False)
        self.module = nn.ModuleDict(
            {"pyramid": self.pyramid, "row_critic": self.row_critic}
        ).to(self.device)
        self.whitener = self.stats.whitener().float().to(self.device)
        self.variance = self.stats.eigenvalues.mean().item()
        shows = CompactCode.load().visibility.to(self.device)
        # In a wrong person's code the mean row is wrong, which counts sqrt(rows) times.
        self.shows = shows / (generator.num_ws * shows[0].sum())
        self.basis = cosine_basis(generator.num_ws).float().to(self.device)

    def shipped(self) -> dict[str, Tensor]:
        """The pyramid."""
        return stored(self.pyramid)

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe, for checkpoint and card."""
        return {"recipe": asdict(self.recipe)}

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Draw the people and fit the linear read to most of them."""
        self.config = config
        self.first_unread = min(READ_MOST, round(READ_SHARE * config.pool))
        first = training_seeds(config.seed, config.pool).start
        self.codes = training_codes(self.generator, config.pool, first)
        if not (folder / "state").exists():
            with seeded(config.seed):
                self._fit_read()

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Of ``batch`` random people that the linear read was not fitted to."""
        recipe, batch = self.recipe, self.config.batch
        picked = torch.randint(
            self.first_unread, len(self.codes), (batch,), generator=rng
        )
        codes = self.codes[picked.to(self.device)]
        restaged = round(recipe.scenes * batch)  # their codes are unknown
        features, target = self._staged(codes, restaged, rng)
        z = self.pyramid(features, self._unlocked(step))
        ws = self.encoder.unwhiten(z)
        error = (ws - codes)[restaged:]
        shown = self.basis @ (z - self._whiten(codes))[restaged:]
        terms = {
            "code": recipe.code * error.square().mean() / self.variance,
            "visible": recipe.visible
            * (self.shows * shown.square()).sum((1, 2)).mean(),
            "offset": recipe.offset * (z - z[:, :1]).square().mean(),
        }
        if recipe.realism:
            terms |= self._realism(z, rng)
        picture = self.paint(ws).float()
        cosine = (self.identity.embed(picture) * self.identity.embed(target)).sum(1)
        terms |= {
            "pixel": recipe.pixel * F.mse_loss(picture, target),
            "lpips": recipe.lpips * self.lpips(picture, target).mean(),
            "identity": recipe.identity * (1 - cosine.mean()),
        }
        loss, figures = total([terms])
        return loss, {"id_raw": cosine.mean().item(), **figures}

    @torch.no_grad()
    def _fit_read(self) -> None:
        """Scales of the features, and the linear read, from the first people."""
        inputs: list[Tensor] = []
        rng = torch.Generator().manual_seed(self.config.seed)
        parts = self.codes[: self.first_unread].split(PART)
        for codes in tqdm(parts, desc="read", unit="part"):
            features, _ = self._staged(codes, 0, rng)
            if not inputs:
                self.pyramid.standardise(features)
            inputs.append(self.pyramid.read.inputs(features))
        x = torch.cat(inputs)
        root = self.stats.eigenvalues.sqrt().float().to(self.device)
        self.pyramid.read.fit(x, self._whiten(self.codes[: len(x)]), root)

    def _realism(self, z: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Both sides of the discriminator's game, in one sum.

        The encoder's term reads a copy of the discriminator that does not learn, the
        discriminator's term reads rows that pass no gradient to the encoder.
        """
        noise = torch.randn(len(z), self.generator.w_dim, generator=rng)
        psi = 0.5 + 0.5 * torch.rand(len(z), 1, generator=rng).to(self.device)
        with torch.no_grad():
            w = self.generator.map(noise.to(self.device))
            real = psi * self._whiten(w)
        real.requires_grad_(True)
        fixed = {k: v.detach() for k, v in self.row_critic.named_parameters()}
        logits = functional_call(self.row_critic, fixed, (z,))
        of_real, of_encoded = self.row_critic(real), self.row_critic(z.detach())
        (gradient,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
        return {
            "realism": self.recipe.realism * F.softplus(-logits).mean(),
            "row_critic": F.softplus(-of_real).mean() + F.softplus(of_encoded).mean(),
            "r1": self.recipe.r1 / 2 * gradient.square().sum(1).mean(),
        }

    def _unlocked(self, step: int) -> int:
        """Rows that have an offset: from one (w0 alone) to all of them."""
        rows = self.generator.num_ws
        done = step / max(1, self.recipe.unlocked_at * self.config.steps)
        return min(rows, 1 + int(done * rows))

    def _whiten(self, ws: Tensor) -> Tensor:
        return (ws - self.encoder.mean) @ self.whitener

    @torch.no_grad()
    def _staged(
        self, codes: Tensor, restaged: int, rng: torch.Generator
    ) -> tuple[Features, Tensor]:
        """Previews of ``codes``, augmented, the first ``restaged`` in another scene.

        Returns:
            Features of the augmented pictures, and the pictures before damage, which
            are the target.
        """
        painted = torch.cat([self.paint(x).float() for x in codes.split(TOGETHER)])
        scenes = augment(painted[:restaged], rng, SCENES)
        plain = painted[restaged:]
        damaged = torch.cat([augment(scenes, rng, DAMAGE), augment(plain, rng)])
        parts = [self.encoder.features(x) for x in damaged.split(TOGETHER)]
        features = Features(*(torch.cat(x) for x in zip(*parts, strict=True)))
        return features, torch.cat([scenes, plain])

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Previews of people never trained on, by the training judge and LPIPS.

        "code" is the mean square error in units of the variance of w.
        """
        renderer = Renderer(self.generator)
        count = min(MEASURED, len(self.codes))
        codes = training_codes(self.generator, 4 * count, seed=0)
        plain = codes[0::4][:count]
        encrypted = codes[3::4][:count]
        figures = {"people": float(count)}
        for kind, ws in (("plain", plain), ("encrypted", encrypted)):
            pictures = renderer.preview(ws).to(self.device)
            encoded = torch.cat([self.encoder(p) for p in pictures.split(8)])
            again = renderer.preview(encoded).to(self.device)
            a, b = self.identity.embed(pictures), self.identity.embed(again)
            error = (encoded - ws).square().mean() / self.variance
            figures |= {
                f"id_raw {kind}": float((a * b).sum(1).mean()),
                f"lpips {kind}": float(self.lpips(pictures, again).mean()),
                f"code {kind}": float(error),
            }
        return figures
