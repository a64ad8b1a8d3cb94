"""Training the encoder: painted faces in, their codes out.

First the linear read is fitted in closed form, to the larger part of the pool. Then
come up to two stages of descent, on the rest of it, where the read's errors are
honest. In the *latent* stage the codes themselves are the target, once as they are and
once by how much of the error would show. In the *painted* stage the generator also
paints what was found, and the picture has to look like the one that went in, by the
losses of e4e: pixels, LPIPS, identity. In both, offsets are unlocked row after row and
kept small, and a discriminator of single rows keeps them where the generator's own rows
are (Tov et al. 2021, section 5).
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.func import functional_call
from tqdm import tqdm

from facersa.errors import CheckpointError
from facersa.files import write_atomic
from facersa.generator.base import fast_on_cuda
from facersa.generator.mobile_stylegan import MobileStyleGAN
from facersa.generator.openvino import Renderer
from facersa.generator.statistics import WStatistics, cosine_basis
from facersa.inversion.encoder import Encoder, Pyramid
from facersa.inversion.trunk import Features, Trunk
from facersa.judges.networks import IdentityJudge
from facersa.people import training_codes, training_seeds
from facersa.photo.images import from_uint8
from facersa.sealing.compact import CompactCode
from facersa.training.augment import DAMAGE, SCENES, augment
from facersa.training.loop import TrainConfig
from facersa.training.pool import render_pool
from facersa.training.recipes import EncoderRecipe

PART = 200  # pictures whose features are kept in one file

TOGETHER = 8  # pictures looked at together

READ_SHARE, READ_MOST = 5 / 6, 10_000  # of the pool, for fitting the linear read

MEASURED = 24  # people, plain ones and encrypted ones


class RowJudge(nn.Module):
    """Is this a row of the generator's own? Whitened rows (..., 512) to logits."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(512, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, 1),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Logits (...,), positive for a real row."""
        return self.layers(z)[..., 0]


class EncoderTask:
    """Train the pyramid of an encoder.

    Args:
        generator: frozen.
        identity: training judge, also the trunk's eye for faces.
        lpips: with AlexNet, also the trunk's eye for the whole picture.
        recipe: data and weights.
    """

    name = "encoder"

    def __init__(
        self,
        generator: MobileStyleGAN,
        identity: IdentityJudge,
        lpips: nn.Module,
        recipe: EncoderRecipe,
    ) -> None:
        self.generator, self.recipe, self.lpips = generator, recipe, lpips
        self.device = generator.w_avg.device
        torch.manual_seed(0)  # initial weights
        self.stats = WStatistics.load()
        self.identity = identity
        self.paint = fast_on_cuda(generator, generator.preview)
        self.pyramid, self.row_judge = Pyramid(), RowJudge()
        self.encoder = Encoder(Trunk(identity, lpips), self.pyramid, self.stats)
        self.encoder.to(self.device)
        # Descent would only learn its pictures by heart.
        self.pyramid.read.requires_grad_(False)
        self.module = nn.ModuleDict(
            {"pyramid": self.pyramid, "row_judge": self.row_judge}
        ).to(self.device)
        self.whitener = self.stats.whitener().float().to(self.device)
        self.variance = self.stats.eigenvalues.mean().item()
        shows = CompactCode.load().visibility.to(self.device)
        # In a wrong person's code the mean row is wrong, which counts sqrt(rows) times.
        self.shows = shows / (generator.num_ws * shows[0].sum())
        self.basis = cosine_basis(generator.num_ws).float().to(self.device)

    @property
    def product(self) -> Pyramid:
        """What ships: the pyramid."""
        return self.pyramid

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe, for checkpoint and card."""
        return {"recipe": asdict(self.recipe)}

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Paint the pool and look at it; fit the linear read."""
        self.config = config
        self.first_unread = min(READ_MOST, round(READ_SHARE * config.pool))
        first = training_seeds(config.seed, config.pool).start
        self.codes = training_codes(self.generator, config.pool, first)
        if self.recipe.kept:
            kind = self.recipe.pictures
            self.pixels = render_pool(
                self.generator, self.codes, folder / "pool", kind=kind
            )
        if not (folder / "state").exists():
            self._fit_read(folder)
        if self.recipe.kept:
            self.features = self._seen_later(folder)

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Of ``batch`` random pictures that the linear read was not fitted to."""
        recipe, batch = self.recipe, self.config.batch
        picked = torch.randint(
            self.first_unread, len(self.codes), (batch,), generator=rng
        )
        target = self.codes[picked.to(self.device)]
        restaged = 0 if recipe.kept else round(recipe.scenes * batch)
        if recipe.kept:
            first = self.first_unread // PART * PART
            features = self.features.take(picked - first)
            wanted = from_uint8(self.pixels[picked].numpy()).to(self.device)
        else:
            features, wanted = self._staged(target, restaged, rng)
        z = self.pyramid(features, self._unlocked(step))
        ws = self.encoder.unwhiten(z)
        off = (ws - target)[restaged:]
        gap = self.basis @ (z - self._whiten(target))[restaged:]
        terms = {
            "code": recipe.code * off.square().mean() / self.variance,
            "visible": recipe.visible * (self.shows * gap.square()).sum((1, 2)).mean(),
            "offset": recipe.offset * (z - z[:, :1]).square().mean(),
        }
        if recipe.realism:
            terms |= self._realism(z, rng)
        figures: dict[str, float] = {}
        if step >= recipe.latent_steps:
            painted, cosine = self._painted(ws, wanted)
            terms |= painted
            figures["id_raw"] = cosine.item()
        loss = torch.stack(list(terms.values())).sum()
        return loss, figures | {name: value.item() for name, value in terms.items()}

    @torch.no_grad()
    def _fit_read(self, folder: Path) -> None:
        """Scales of the features, and the linear read, from the first pictures."""
        inputs: list[Tensor] = []
        rng = torch.Generator().manual_seed(self.config.seed)
        for start in tqdm(range(0, self.first_unread, PART), desc="look", unit="part"):
            end = min(start + PART, self.first_unread)
            if self.recipe.kept:
                features = self._seen(folder, start).take(torch.arange(end - start))
            else:
                features, _ = self._staged(self.codes[start:end], 0, rng)
            if not inputs:
                self.pyramid.standardise(features)
            inputs.append(self.pyramid.read.inputs(features))
        x = torch.cat(inputs)
        root = self.stats.eigenvalues.sqrt().float().to(self.device)
        self.pyramid.read.fit(x, self._whiten(self.codes[: len(x)]), root)

    def _painted(self, ws: Tensor, wanted: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The losses of e4e on previews of ``ws``, and the mean identity cosine."""
        picture = self.paint(ws).float()
        found, known = self.identity.embed(picture), self.identity.embed(wanted)
        cosine = (found * known).sum(1).mean()
        recipe = self.recipe
        return {
            "pixel": recipe.pixel * F.mse_loss(picture, wanted),
            "lpips": recipe.lpips * self.lpips(picture, wanted).mean(),
            "identity": recipe.identity * (1 - cosine),
        }, cosine

    def _realism(self, z: Tensor, rng: torch.Generator) -> dict[str, Tensor]:
        """Both sides of the discriminator's game, in one sum.

        The encoder's side reads a copy of the judge that does not learn, the judge's
        side reads rows that do not lead back to the encoder.
        """
        noise = torch.randn(len(z), self.generator.w_dim, generator=rng)
        psi = 0.5 + 0.5 * torch.rand(len(z), 1, generator=rng).to(self.device)
        with torch.no_grad():
            w = self.generator.map(noise.to(self.device))
            real = psi * self._whiten(w)
        real.requires_grad_(True)
        fixed = {k: v.detach() for k, v in self.row_judge.named_parameters()}
        said = functional_call(self.row_judge, fixed, (z,))
        of_real, of_found = self.row_judge(real), self.row_judge(z.detach())
        (slope,) = torch.autograd.grad(of_real.sum(), real, create_graph=True)
        return {
            "realism": self.recipe.realism * F.softplus(-said).mean(),
            "row_judge": F.softplus(-of_real).mean() + F.softplus(of_found).mean(),
            "r1": self.recipe.r1 / 2 * slope.square().sum(1).mean(),
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
        """Previews of ``codes``, the first ``restaged`` in another scene; spoiled.

        Returns:
            Features of what was spoiled, and the pictures as they should look.
        """
        wanted = self.paint(codes).float()
        scenes = augment(wanted[:restaged], rng, SCENES)
        spoiled = [augment(scenes, rng, DAMAGE), augment(wanted[restaged:], rng)]
        features = self.encoder.features(torch.cat(spoiled))
        return features, torch.cat([scenes, wanted[restaged:]])

    @torch.no_grad()
    def _spoiled(self, picked: Tensor, rng: torch.Generator) -> Features:
        """Of kept pictures, by number."""
        seen = [
            self.encoder.features(
                augment(from_uint8(pixels.numpy()).to(self.device), rng)
            )
            for pixels in self.pixels[picked].split(TOGETHER)
        ]
        return Features(*(torch.cat(x) for x in zip(*seen, strict=True)))

    def _seen(self, folder: Path, start: int) -> Features:
        """Features of ``PART`` pictures, spoiled once, in half precision; kept."""
        path = folder / f"features.{start:06d}.safetensors"
        numbers = torch.arange(start, min(start + PART, len(self.pixels)))
        if not path.exists():
            rng = torch.Generator().manual_seed(self.config.seed * 2**32 + start)
            made = self._spoiled(numbers, rng)._asdict()
            halves = {name: x.half().cpu().contiguous() for name, x in made.items()}
            write_atomic(path, save(halves))
        found = Features(**load_file(path))
        if len(found.identity) != len(numbers):
            raise CheckpointError(
                f"{path} belongs to other settings; use another folder or delete it."
            )
        return Features(*(x.to(self.device) for x in found))

    def _seen_later(self, folder: Path) -> Features:
        """Of the pictures that the linear read was not fitted to."""
        first = self.first_unread // PART * PART
        starts = range(first, len(self.pixels), PART)
        parts = [
            self._seen(folder, start)
            for start in tqdm(starts, desc="look on", unit="part")
        ]
        return Features(*(torch.cat(x) for x in zip(*parts, strict=True)))

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
            found = torch.cat([self.encoder(p) for p in pictures.split(8)])
            again = renderer.preview(found).to(self.device)
            a, b = self.identity.embed(pictures), self.identity.embed(again)
            error = (found - ws).square().mean() / self.variance
            figures |= {
                f"id_raw {kind}": float((a * b).sum(1).mean()),
                f"lpips {kind}": float(self.lpips(pictures, again).mean()),
                f"code {kind}": float(error),
            }
        return figures
