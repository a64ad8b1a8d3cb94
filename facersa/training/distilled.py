"""The judge of codes: a small network predicts how alike two edited codes will look.

A painted step of training takes seconds on a CPU, nearly all of them in the generator
and the judges. But every loss compares two codes of one person, which differ in a few
rows. So nobody needs the picture, or what the judges say of it: how far apart they say
two pictures are is enough. This network maps a code to a few vectors, one for each
judge, whose distances are such predictions. It is knowledge distillation, of distances:
the teacher is the generator with its judges, and ``pool`` holds the answers.

Distances are much easier to predict than answers. Which way an embedding moves depends
on everything in a face, how far it moves hardly does.

A mapper can learn to fool this network, so figures are always taken from painted
pictures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor, nn

from facersa.cipher.base import W_DIM
from facersa.errors import AssetError
from facersa.files import read_file
from facersa.generator.statistics import WStatistics
from facersa.ops import mixed
from facersa.training.losses import View

CONTEXT_ROWS = (0, 1, 2, 3, 4, 9, 10)  # they style features up to 128 x 128
CONTEXT_AXES = 64  # of each of them
UNSEEN = 0.06  # share of a pool's people that nothing is trained on
_SHIPPED = str(resources.files("facersa") / "weights/judge.safetensors")
# Numbers in each vector. Of two codes a and b of one person, and m numbers,
SIZES = {
    "identity": 128,  # a . b / |a||b| is the cosine of the identities
    "landmarks": 64,  # |a - b|^2 is the mean squared distance of landmarks
    "picture": 64,  # |a - b|^2 / m is the mean squared difference of pixels
    "perceptual": 64,  # |a - b|^2 is the LPIPS distance
    "parts": 64,  # |a - b|^2 is the divergence of the parts
}


@dataclass(frozen=True)
class JudgeConfig:
    """What rebuilds a ``CodeJudge``.

    Attributes:
        layers: edited rows.
        width: of the hidden layers.
        context: numbers that the rows which are not edited are reduced to.
        depth: hidden layers after the first.
        dropout: of hidden units, in training.
    """

    layers: tuple[int, ...] = (5, 6, 7, 8)
    width: int = 640
    context: int = 192
    depth: int = 2
    dropout: float = 0.15


class CodeJudge(nn.Module):
    """Codes (B, 16, 512) to vectors whose distances are those the judges would find."""

    mean: Tensor
    basis: Tensor
    whitener: Tensor
    scale: Tensor

    def __init__(self, config: JudgeConfig | None = None) -> None:
        super().__init__()
        self.config = config = JudgeConfig() if config is None else config
        stats = WStatistics.load()
        # Along the axes of w, in units that are the same for all axes: what hardly
        # varies hardly matters.
        basis = stats.eigenvectors * stats.eigenvalues.mean().rsqrt()
        whitener = stats.whitener(CONTEXT_AXES)
        self.register_buffer("mean", stats.mean.float(), persistent=False)
        self.register_buffer("basis", basis.float(), persistent=False)
        self.register_buffer("whitener", whitener.float(), persistent=False)
        width, context = config.width, config.context
        self.summary = nn.Sequential(
            nn.Linear(len(CONTEXT_ROWS) * CONTEXT_AXES, context),
            nn.SiLU(),
            nn.Linear(context, context),
            nn.SiLU(),
        )
        self.read = nn.Linear(len(config.layers) * W_DIM, width)
        self.hidden = nn.ModuleList(
            nn.Linear(width, width) for _ in range(config.depth)
        )
        self.steer = nn.ModuleList(
            nn.Linear(context, 2 * width) for _ in range(config.depth + 1)
        )
        self.heads = nn.ModuleDict(
            {name: nn.Linear(width, size) for name, size in SIZES.items()}
        )
        self.register_buffer("scale", torch.ones(len(SIZES)))

    @property
    def fingerprint(self) -> str:
        """16 hex digits that tell the weights of one judge from another's."""
        digest = hashlib.sha256()
        for name, value in sorted(self.state_dict().items()):
            digest.update(f"{name} {tuple(value.shape)} ".encode())
            digest.update(value.detach().float().cpu().numpy().tobytes())
        return digest.hexdigest()[:16]

    def forward(self, ws: Tensor) -> dict[str, Tensor]:
        """The vectors (B, size) of ``SIZES`` by name; the identity is a unit vector."""
        context = (ws[:, list(CONTEXT_ROWS)] - self.mean) @ self.whitener
        context = self.summary(context.flatten(1))
        rows = (ws[:, list(self.config.layers)] - self.mean) @ self.basis
        x: Tensor | None = None
        for layer, steer in zip([self.read, *self.hidden], self.steer, strict=True):
            scale, shift = steer(context).chunk(2, 1)
            more = layer(rows.flatten(1) if x is None else x)
            more = F.silu(more * (1 + scale) + shift)
            more = F.dropout(more, self.config.dropout, self.training)
            x = more if x is None else x + more
        vectors = {
            name: head(x) * scale
            for (name, head), scale in zip(self.heads.items(), self.scale, strict=True)
        }
        vectors["identity"] = F.normalize(vectors["identity"].float(), dim=1)
        return vectors

    def view(self, ws: Tensor, code: Tensor) -> View:
        """As ``critic.Painter``: what the losses read; ``code`` are whitened rows.

        Landmarks and picture are vectors in the place of such: only their distances
        mean something.
        """
        vectors = self(ws)
        return View(
            code,
            vectors["identity"],
            vectors["landmarks"].float()[:, None],
            vectors["picture"].float(),
            perceptual=vectors["perceptual"].float(),
            parsing=vectors["parts"].float(),
        )

    def views(
        self,
        codes: Mapping[str, Tensor],
        layers: Sequence[int],
        mean: Tensor,
        axes: Tensor,
    ) -> dict[str, View]:
        """A view of each of some codes, all in one pass; ``mean``, ``axes`` whiten.

        Matrix products are ``mixed``.
        """
        ws = torch.cat([*codes.values()])
        white = (ws[:, list(layers)] - mean) @ axes
        with mixed(ws.device):
            view = self.view(ws, white)
        size = len(ws) // len(codes)
        return {k: view.part(i * size, (i + 1) * size) for i, k in enumerate(codes)}


def predicted_distances(vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same of a judge's vectors (P, K, size)."""
    found = {}
    for name, vector in vectors.items():
        gaps = (vector[:, :, None] - vector[:, None]).float().square()
        square = gaps.mean(3) if name == "picture" else gaps.sum(3)
        found[name] = (square + 1e-8).sqrt()
    return found


def judge_card(path: str | Path | None = None) -> dict[str, Any]:
    """The card beside a judge's weights: sizes, and how well it predicts.

    Args:
        path: of the weights; those that ship by default.

    Raises:
        AssetError: it is missing or damaged.
    """
    file = Path(str(path or _SHIPPED)).with_suffix(".json")
    try:
        card = json.loads(read_file(file))
        card["settings"]["judge"]["layers"]
        return card
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise AssetError(_not_a_judge(file, error)) from error


def load_judge(
    path: str | Path | None = None, device: str | torch.device = "cpu"
) -> CodeJudge:
    """A trained judge of codes, frozen; the one that ships by default.

    Args:
        path: of the ``.safetensors`` file that ``facersa train judge`` wrote, its card
            beside it.
        device: where the judge works.

    Raises:
        AssetError: file or card is missing, damaged or of another network.
    """
    settings, file = judge_card(path)["settings"]["judge"], path or _SHIPPED
    try:
        settings["layers"] = tuple(settings["layers"])
        judge = CodeJudge(JudgeConfig(**settings))
        judge.load_state_dict(unpacked(load(read_file(file))))
    except (
        *(OSError, SafetensorError, LookupError, TypeError, ValueError),
        *(ArithmeticError, RuntimeError),
    ) as error:
        raise AssetError(_not_a_judge(file, error)) from error
    return judge.to(device).eval().requires_grad_(False)


def _not_a_judge(file: object, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0]
    return (
        f"{file} does not hold a judge of codes ({reason}); pass the judge.safetensors "
        "of a run of facersa train judge, its card beside it."
    )


def packed(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Matrices in whole numbers of eight bits, with a scale for each row.

    That halves the file. The judge is an approximation in any case.
    """
    out: dict[str, Tensor] = {}
    for name, value in weights.items():
        if value.ndim == 2:
            scale = value.float().abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
            out[name] = (value.float() / scale).round().to(torch.int8)
            out[f"{name}.scale"] = scale[:, 0]
        else:
            out[name] = value
    return out


def unpacked(stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of ``packed``, in float32; other weights come as they are."""
    return {
        name: value.float() * stored[f"{name}.scale"][:, None]
        if value.dtype == torch.int8
        else value.float()
        for name, value in stored.items()
        if not name.endswith(".scale")
    }
