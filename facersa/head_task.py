"""Training the preview head: from features of block 4 to small pictures.

The teacher is the generator itself: its full pictures, shrunk to 256 x 256. No
photograph is needed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor
from tqdm import tqdm

from facersa.errors import CheckpointError
from facersa.generator import PREVIEW_BLOCKS, Generator, PreviewHead
from facersa.images import from_uint8, resize, to_uint8, write_atomic
from facersa.judges import IdentityJudge
from facersa.ops import haar_analysis
from facersa.rendering import FULL, Renderer
from facersa.training import TrainConfig

TRAIN_SEED = 1_000_000  # people below this number are never trained on
TEACHER_PART = 50  # pictures rendered and kept together


def varied_codes(generator: Generator, count: int, seed: int) -> Tensor:
    """Codes (count, 16, 512) of the kinds the package meets, one stream each.

    Half are one person in every row; a quarter mix two people at a random row;
    a quarter carry a small offset of their own in every row, as codes of
    photographs do. Truncation is uniform in [0.5, 1].
    """
    codes = []
    for index in range(count):
        rng = torch.Generator().manual_seed(seed + index)
        z = torch.randn(2 + generator.num_ws, generator.w_dim, generator=rng)
        kind, psi, cut = torch.rand(3, generator=rng).tolist()
        with torch.no_grad():
            w = generator.map(z.to(generator.w_avg.device))
        ws = generator.truncate(generator.broadcast(w[:1]), 0.5 + 0.5 * psi)
        if kind > 0.75:
            other = generator.truncate(generator.broadcast(w[1:2]), 0.5 + 0.5 * psi)
            row = 1 + int(cut * (generator.num_ws - 1))
            ws = torch.cat([ws[:, :row], other[:, row:]], dim=1)
        elif kind > 0.5:
            offsets = w[None, 2:] - generator.w_avg
            ws = ws + 0.3 * cut * offsets
        codes.append(ws)
    return torch.cat(codes)


def render_pool(
    generator: Generator,
    codes: Tensor,
    path: Path,
    *,
    kind: str = FULL,
    progress: bool = True,
) -> Tensor:
    """Pictures of ``codes`` at 256 x 256, uint8 (N, 256, 256, 3), kept.

    Full ones, shrunk, or previews, as ``kind`` says. Rendered in parts of 50 which
    are kept too, so a stopped run loses little.
    """
    renderer, parts = Renderer(generator), []
    starts = tqdm(
        range(0, len(codes), TEACHER_PART),
        desc="render",
        unit="50 pictures",
        disable=not progress,
    )
    for start in starts:
        part = path.with_name(f"{path.name}.{start:06d}.safetensors")
        chunk = codes[start : start + TEACHER_PART]
        if not part.exists():
            pictures = [to_uint8(resize(x, 256)) for x in renderer.stream(chunk, kind)]
            pixels = torch.cat([torch.from_numpy(p) for p in pictures])
            write_atomic(part, save({"pixels": pixels, "codes": chunk.cpu()}))
        kept = load_file(part)
        if not torch.equal(kept["codes"], chunk.cpu()):
            raise CheckpointError(
                f"{part} belongs to other settings; use another folder or delete it."
            )
        parts.append(kept["pixels"])
    return torch.cat(parts)


class HeadTask:
    """Train the preview head: features of block 4 to the picture at 256 x 256.

    The loss is the mean square error, that of the half-size low band again
    (which is what a judge sees), and the identity distance to the full picture.

    Args:
        generator: frozen but for its head.
        judge: training judge of identity.
    """

    name = "preview_head"
    low_weight = 1.0
    identity_weight = 0.05

    def __init__(self, generator: Generator, judge: IdentityJudge) -> None:
        self.generator, self.judge = generator, judge
        self.module = generator.head.requires_grad_(True)
        # Ridge regression has found the best linear read; only the rest descends.
        self.module.linear.requires_grad_(False)

    @property
    def product(self) -> PreviewHead:
        """What ships: the head."""
        return self.module

    @property
    def settings(self) -> dict[str, Any]:
        """Nothing beyond the configuration."""
        return {}

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Render the pool and set the linear part by ridge regression."""
        self.batch = config.batch
        self.codes = varied_codes(self.generator, config.pool, TRAIN_SEED + config.seed)
        self.pixels = render_pool(self.generator, self.codes, folder / "pool")
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
        codes = self.codes[picked]
        target = from_uint8(self.pixels[picked].numpy()).to(codes.device)
        picture = self.module(*self.inputs(codes))
        mse = F.mse_loss(picture, target)
        low = F.mse_loss(F.avg_pool2d(picture, 2), F.avg_pool2d(target, 2))
        cosine = (self.judge.embed(picture) * self.judge.embed(target)).sum(1).mean()
        loss = mse + self.low_weight * low + self.identity_weight * (1 - cosine)
        return loss, {"mse": mse.item(), "low": low.item(), "id_raw": cosine.item()}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Low-band R^2 and training-judge cosine on people never seen, at most 64."""
        count = min(64, len(self.codes))
        codes = varied_codes(self.generator, count, seed=0)
        renderer = Renderer(self.generator)
        cosines, errors, lows = [], [], []
        for code, full in zip(codes.split(1), renderer.stream(codes), strict=True):
            target = resize(full, 256)
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
