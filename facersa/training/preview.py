"""Training the preview head: from features of block 4 to small pictures.

The teacher is the generator itself: its full pictures, shrunk to 256 x 256. No
photograph is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from facersa.errors import CheckpointError
from facersa.files import write_atomic
from facersa.generator.mobile_stylegan import (
    PREVIEW_BLOCKS,
    MobileStyleGAN,
    PreviewHead,
)
from facersa.generator.openvino import Renderer
from facersa.judges.networks import IdentityJudge
from facersa.ops import haar_analysis
from facersa.people import training_people, varied_codes
from facersa.photo.images import from_uint8, resize, to_uint8
from facersa.training.loop import TrainConfig, seeded, stored

PART = 50  # pictures rendered and stored together


class HeadTask:
    """Train a new preview head: features of block 4 to the picture at 256 x 256.

    The loss is the mean square error, that of the half-size low band again (which is
    what a judge sees), and the identity distance to the full picture.

    Args:
        generator: frozen; its own head is neither read nor changed.
        judge: training judge of identity.
        seed: of the initial weights.
    """

    name = "preview_head"
    low_weight = 1.0
    identity_weight = 0.05

    def __init__(
        self, generator: MobileStyleGAN, judge: IdentityJudge, *, seed: int = 0
    ) -> None:
        self.generator, self.judge = generator, judge
        with seeded(seed):
            self.module = PreviewHead().to(generator.w_avg.device)
        # Its best weights have a closed form; only the rest descends.
        self.module.linear.requires_grad_(False)

    def shipped(self) -> dict[str, Tensor]:
        """The head."""
        return stored(self.module)

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing beyond the configuration."""
        return {}

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Render the pool and set the linear part by ridge regression."""
        self.batch = config.batch
        self.codes = training_people(self.generator, config.pool, config.seed)
        self.pixels = render_pool(self.generator, self.codes, folder)
        if not (folder / "state").exists():
            self._fit_linear(min(48, config.pool))

    def inputs(self, codes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the head reads, without gradients."""
        with torch.no_grad():
            features = self.generator.synthesis.features(codes, PREVIEW_BLOCKS)
            return self.generator.head_inputs(features, codes)

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Of ``batch`` random members of the pool."""
        picked = torch.randint(len(self.codes), (self.batch,), generator=rng)
        codes = self.codes[picked.to(self.codes.device)]
        target = from_uint8(self.pixels[picked].numpy()).to(codes.device)
        picture = self.module(*self.inputs(codes))
        mse = F.mse_loss(picture, target)
        low = F.mse_loss(F.avg_pool2d(picture, 2), F.avg_pool2d(target, 2))
        cosine = (self.judge.embed(picture) * self.judge.embed(target)).sum(1).mean()
        loss = mse + self.low_weight * low + self.identity_weight * (1 - cosine)
        return loss, {"mse": mse.item(), "low": low.item(), "id_raw": cosine.item()}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Low-band R^2 and training-judge cosine on at most 64 other people."""
        count = min(64, len(self.codes))
        codes = varied_codes(self.generator, count, seed=0)
        renderer = Renderer(self.generator)
        cosines, errors, lows = [], [], []
        for code, full in zip(codes.split(1), renderer.stream(codes), strict=True):
            target = resize(full, 256).to(codes.device)
            picture = self.module(*self.inputs(code))
            cosines.append((self.judge.embed(picture) * self.judge.embed(target)).sum())
            low = F.avg_pool2d(target, 2)
            errors.append((F.avg_pool2d(picture, 2) - low).square().mean())
            lows.append(low)
        total = torch.cat(lows).var(dim=(0, 2, 3)).mean()
        return {
            "people": float(count),
            "low_band_r2": float(1 - torch.stack(errors).mean() / total),
            "id_raw_mean": float(torch.stack(cosines).mean()),
            "id_raw_min": float(torch.stack(cosines).min()),
        }

    @torch.no_grad()
    def _fit_linear(self, count: int, ridge: float = 1e-3) -> None:
        """Least squares from features to Haar bands, on every fourth position."""
        gram: Tensor | float = 0.0
        cross: Tensor | float = 0.0
        for i in range(count):
            features, modulated, _ = self.inputs(self.codes[i : i + 1])
            x = torch.cat([features, modulated], 1)[..., ::4, ::4].flatten(2)[0].T
            x = torch.cat([x, x.new_ones(len(x), 1)], 1).double()
            target = from_uint8(self.pixels[i].numpy()).to(x.device)
            y = haar_analysis(target)[..., ::4, ::4].flatten(2)[0].T.double()
            gram, cross = gram + x.T @ x, cross + x.T @ y
        assert isinstance(gram, Tensor)
        scale = ridge * gram.diagonal().mean()
        eye = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        solution = torch.linalg.solve(gram + scale * eye, cross).float()
        weight, bias = self.module.linear.parameters()
        weight.copy_(solution[:-1].T[:, :, None, None])
        bias.copy_(solution[-1])


def render_pool(generator: MobileStyleGAN, codes: Tensor, folder: Path) -> Tensor:
    """Full pictures of ``codes``, shrunk: uint8 (N, 256, 256, 3).

    Stored in ``folder`` in parts of 50, so that a stopped run loses little.

    Raises:
        CheckpointError: a part there is of other codes.
    """
    renderer, parts = Renderer(generator), []
    for start in tqdm(range(0, len(codes), PART), desc="render", unit="50 pictures"):
        path = folder / f"pool.{start:06d}.safetensors"
        chunk = codes[start : start + PART]
        if not path.exists():
            pictures = [to_uint8(resize(x, 256)) for x in renderer.stream(chunk)]
            pixels = torch.cat([torch.from_numpy(p) for p in pictures])
            write_atomic(path, save({"pixels": pixels, "codes": chunk.cpu()}))
        try:
            stored = load_file(path)
            fits = torch.equal(stored["codes"], chunk.cpu())
            fits &= stored["pixels"].shape == (len(chunk), 256, 256, 3)
        except (KeyError, SafetensorError):
            fits = False
        if not fits:
            raise CheckpointError(
                f"{path} is damaged or belongs to other settings; use another folder "
                "or delete it."
            )
        parts.append(stored["pixels"])
    return torch.cat(parts)
