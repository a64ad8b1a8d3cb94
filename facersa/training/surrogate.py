"""A quick guess at what the judges would say of a code, without painting it.

Painting a face and judging it, with gradients, costs about half a second on a
CPU. A small network that reads the rows of W+ directly costs next to nothing,
so a cipher can take its first thousands of steps against it. It is only a
guess, and whatever is trained against it learns to fool it: the network is
fitted again on the cipher's own outputs as training goes on, and figures are
always reported on painted pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save
from torch import Tensor, nn

from facersa.errors import CheckpointError
from facersa.files import write_atomic
from facersa.generator.base import Generator
from facersa.generator.openvino import PREVIEW, Renderer
from facersa.generator.statistics import WStatistics
from facersa.judges.networks import IdentityJudge, Landmarks
from facersa.ops import check_shape

ROWS = 11  # rows 0 to 10 decide shape and features; 11 to 15 only colour

AXES = 64  # leading principal axes of w that are read of every row


class Surrogate(nn.Module):
    """Codes (B, rows, 512) to a unit identity vector and 68 points.

    Coordinates are principal but not whitened: small axes matter less, which a
    network fitted on few codes could not find out by itself.

    Args:
        statistics: of w, for the coordinates that are read.
        width: of the hidden layers.
    """

    mean: Tensor
    axes: Tensor
    typical_identity: Tensor
    typical_points: Tensor

    def __init__(self, statistics: WStatistics, width: int = 512) -> None:
        super().__init__()
        scale = statistics.eigenvalues[:AXES].mean().sqrt()
        axes = statistics.eigenvectors[:, :AXES] / scale
        self.register_buffer("mean", statistics.mean.float(), persistent=False)
        self.register_buffer("axes", axes.float(), persistent=False)
        self.register_buffer("typical_identity", torch.full((512,), 512**-0.5))
        self.register_buffer("typical_points", torch.full((68, 2), 0.5))
        inputs, outputs = ROWS * AXES, 512 + 68 * 2
        self.linear = nn.Linear(inputs, outputs)
        self.hidden = nn.Sequential(
            nn.Linear(inputs, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
        )
        self.last = nn.Linear(width, outputs)
        for layer in (self.linear, self.last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, ws: Tensor) -> tuple[Tensor, Tensor]:
        """Identity (B, 512), of length 1, and points (B, 68, 2) in sides."""
        check_shape(ws, None, None, self.mean.numel(), name="ws")
        z = ((ws[:, :ROWS] - self.mean) @ self.axes).flatten(1)
        found = self.linear(z) + self.last(self.hidden(z))
        identity = self.typical_identity + found[:, :512]
        # Points move by a few hundredths; the network works on hundredths.
        points = self.typical_points + found[:, 512:].view(-1, 68, 2) / 100
        return F.normalize(identity, dim=1), points

    def loss(self, ws: Tensor, identity: Tensor, points: Tensor) -> Tensor:
        """1 - cos of the identities, plus the points' error (in 1 % of the side)."""
        guess, places = self(ws)
        angle = 1 - (guess * identity).sum(1).mean()
        return angle + 0.1 * (places - points).mul(100).square().mean()


class Judged(NamedTuple):
    """Codes (N, 16, 512) and what the training judges say of their previews."""

    ws: Tensor
    identity: Tensor
    landmarks: Tensor

    def take(self, index: Tensor) -> Judged:
        """Some of them."""
        return Judged(*(tensor[index] for tensor in self))

    @classmethod
    def join(cls, parts: Sequence[Judged]) -> Judged:
        """All of them."""
        return cls(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))

    def save(self, path: Path) -> None:
        """Write them as safetensors, codes in half precision, atomically."""
        tensors = {**self._asdict(), "ws": self.ws.half()}
        write_atomic(path, save({k: v.cpu().contiguous() for k, v in tensors.items()}))

    @classmethod
    def load(cls, path: Path, device: torch.device) -> Judged:
        """Read what ``save`` wrote."""
        stored = {k: v.to(device).float() for k, v in load_file(path).items()}
        return cls(**stored)


class CodeJudge:
    """Paints previews of codes and asks the training judges; keeps the answers."""

    def __init__(
        self, generator: Generator, identity: IdentityJudge, landmarks: Landmarks
    ) -> None:
        self.renderer = Renderer(generator)
        self.identity, self.landmarks = identity, landmarks

    @torch.no_grad()
    def judge(self, ws: Tensor) -> Judged:
        """Ask about ``ws`` (N, 16, 512), one picture after the other."""
        answers = []
        device = ws.device
        for picture in self.renderer.stream(ws, PREVIEW):
            seen = picture.to(device)
            answers.append((self.identity.embed(seen), self.landmarks.landmarks(seen)))
        vectors, points = (torch.cat(tensors) for tensors in zip(*answers, strict=True))
        return Judged(ws, vectors, points)

    def kept(self, ws: Tensor, path: Path) -> Judged:
        """As ``judge``, or what an earlier call left at ``path``.

        Raises:
            CheckpointError: the file is about other codes.
        """
        if not path.exists():
            self.judge(ws.half().float()).save(path)
        found = Judged.load(path, ws.device)
        if not torch.equal(found.ws, ws.half().float()):
            raise CheckpointError(
                f"{path} belongs to other settings; use another folder or delete it."
            )
        return found


def fit(
    surrogate: Surrogate,
    pool: Judged,
    steps: int,
    rng: torch.Generator,
    *,
    recent: int = 0,
    batch: int = 128,
    lr: float = 1e-3,
) -> float:
    """Train ``surrogate`` on ``pool``; half of each batch from its ``recent`` end.

    Returns:
        Mean loss over the last tenth of the steps.
    """
    if not surrogate.typical_identity.any():  # never fitted before
        surrogate.typical_identity.copy_(pool.identity.mean(0))
        surrogate.typical_points.copy_(pool.landmarks.mean(0))
    surrogate.requires_grad_(True)
    optimizer = torch.optim.AdamW(surrogate.parameters(), lr=lr, weight_decay=0.1)
    losses = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        picked = torch.randint(len(pool.ws), (batch,), generator=rng)
        if recent:
            late = torch.randint(recent, (batch // 2,), generator=rng)
            picked[: batch // 2] = len(pool.ws) - 1 - late
        loss = surrogate.loss(*pool.take(picked))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    surrogate.requires_grad_(False)
    tail = losses[-max(1, steps // 10) :]
    return sum(tail) / len(tail)


def edited_codes(
    generator: Generator, bases: Tensor, layers: tuple[int, ...], rng: torch.Generator
) -> Tensor:
    """Codes with their ``layers`` moved at random, as a cipher might move them.

    A third go part of the way to another person, or beyond; a third get an
    offset shared by the rows, a third one of its own in every row.
    """
    count, rows = len(bases), list(layers)
    z = torch.randn(count * (len(rows) + 1), generator.w_dim, generator=rng)
    with torch.no_grad():
        w = generator.map(z.to(generator.w_avg.device))
    w = w.view(count, len(rows) + 1, -1) - generator.w_avg
    kind, size = torch.rand(2, count, 1, 1, generator=rng).to(w.device)
    toward = (w[:, :1] + generator.w_avg - bases[:, rows]) * 1.3 * size
    shared = w[:, :1].expand(-1, len(rows), -1) * 1.4 * size
    own = w[:, 1:] * 1.4 * size
    move = torch.where(kind < 1 / 3, toward, torch.where(kind < 2 / 3, shared, own))
    edited = bases.clone()
    edited[:, rows] += move
    return edited
