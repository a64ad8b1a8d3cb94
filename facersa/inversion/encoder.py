"""Photograph to W+ code in one pass: a small encoder in the manner of e4e.

After Tov et al. 2021: a feature pyramid; something for all rows at once, and for each
further row an offset, which training unlocks row after row and keeps small; codes
near the mean. What differs is the size. Their trunk is a face recognition network of
44 million weights, trained along. Here two frozen networks that the package has
anyway look at the picture, the identity judge at the face and the convolutions of
LPIPS at all of it, a linear read in closed form makes a first guess, and only the
pyramid that corrects it is trained. And as in ReStyle (Alaluf et al. 2021) the encoder
looks again, at what it painted; there that is learned, here it is a fixed-point search
(``Encoder.look_again``).

Since the training judge of identity is part of it, its word on what the encoder finds
is biased: believe the held-out judge.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.assets.registry import shipped_weights
from facersa.generator.mobile_stylegan import Generator
from facersa.generator.statistics import WStatistics
from facersa.inversion.trunk import CHANNELS, SIDES, SOFT, Features, Trunk, grown
from facersa.judges.networks import IdentityJudge
from facersa.ops import check_shape
from facersa.photo.images import resize

FILE = "encoder.safetensors"

# Rows and the level they are read from; row 0 is w0, which all levels tell.
LEVELS = {"coarse": range(1, 3), "middle": range(3, 7), "fine": range(7, 16)}

LOOKS, GAIN = 1, 0.5  # of ``look_again``; many more make it worse again


class Level(nn.Module):
    """A map of the pyramid to a vector: two strided convolutions, one linear layer."""

    def __init__(self, side: int, width: int, size: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.second = nn.Conv2d(width, width, 3, stride=2, padding=1)
        self.linear = nn.Linear(width * (side // 4) ** 2, size)

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, side, side) to (B, size)."""
        x = F.leaky_relu(self.first(x), 0.2)
        x = F.leaky_relu(self.second(x), 0.2)
        return F.leaky_relu(self.linear(x.flatten(1)), 0.2)


class LinearRead(nn.Module):
    """A first guess of all rows: linear in pooled features, of low rank.

    The best linear read has a closed form (see ``fit``), so it is not descended to.
    Photographs have features that no painted face has, and a linear read would
    follow them anywhere, so what is read counts up to ``limit`` standard deviations.
    """

    mean: Tensor
    scale: Tensor
    pooled = {"coarse": 4, "middle": 4, "fine": 4}
    limit = 3.0

    def __init__(self, rank: int = 128) -> None:
        super().__init__()
        inputs = Generator.w_dim
        inputs += sum(CHANNELS[name] * side**2 for name, side in self.pooled.items())
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, Generator.num_ws * Generator.w_dim)

    def inputs(self, features: Features) -> Tensor:
        """Features to (B, inputs), as they are."""
        parts = [features.identity.float()]
        for name, side in self.pooled.items():
            x = F.adaptive_avg_pool2d(getattr(features, name).float(), side)
            parts.append(x.flatten(1))
        return torch.cat(parts, 1)

    def forward(self, features: Features) -> Tensor:
        """Features to whitened codes (B, 16, 512)."""
        return self.read(self.inputs(features))

    def standardise(self, x: Tensor) -> Tensor:
        """Inputs in standard deviations from their means."""
        return (x - self.mean) / self.scale

    def read(self, x: Tensor) -> Tensor:
        """(B, inputs) of ``inputs`` to whitened codes (B, 16, 512)."""
        within = self.standardise(x).clamp(-self.limit, self.limit)
        return self.up(self.down(within)).view(-1, Generator.num_ws, Generator.w_dim)

    @torch.no_grad()
    def fit(self, x: Tensor, z: Tensor, axes: Tensor) -> None:
        """Ridge regression, cut to the rank that keeps most of what it predicts.

        Args:
            x: (n, inputs) of ``inputs``.
            z: (n, 16, 512) whitened codes.
            axes: (512,) deviations of w along the whitened axes: what the rank keeps
                is measured in w.
        """
        self.mean.copy_(x.mean(0))
        self.scale.copy_(x.std(0).clamp(min=1e-3))
        x, typical = self.standardise(x), z.mean(0)
        y = ((z - typical) * axes).flatten(1)
        kernel = x @ x.T
        penalty = x.shape[1] * torch.eye(len(x), device=x.device)
        dual = torch.linalg.solve(kernel + penalty, y)
        rank = self.down.out_features
        _, _, kept = torch.svd_lowrank(kernel @ dual, q=min(rank, len(x)), niter=4)
        self.down.weight.zero_()
        self.down.weight[: kept.shape[1]] = (x.T @ (dual @ kept)).T
        up = (kept.T.reshape(-1, *z.shape[1:]) / axes).flatten(1)
        self.up.weight.zero_()
        self.up.weight[:, : kept.shape[1]] = up.T
        self.up.bias.copy_(typical.flatten())


class Pyramid(nn.Module):
    """Features to codes in whitened coordinates: the part that is trained.

    A linear read, one correction for all rows, and one for each further row.

    Args:
        width: channels of the pyramid.
        size: of the vector each level becomes.
    """

    num_ws, w_dim = Generator.num_ws, Generator.w_dim

    def __init__(self, width: int = 96, size: int = 112) -> None:
        super().__init__()
        self.read = LinearRead()
        self.lateral = nn.ModuleDict(
            {name: nn.Conv2d(n, width, 1) for name, n in CHANNELS.items()}
        )
        for name, channels in CHANNELS.items():
            self.register_buffer(f"{name}_mean", torch.zeros(channels, 1, 1))
            self.register_buffer(f"{name}_scale", torch.ones(channels, 1, 1))
        self.levels = nn.ModuleDict(
            {name: Level(side, width, size) for name, side in SIDES.items()}
        )
        told = len(SIDES) * size + self.w_dim
        self.hidden = nn.Linear(told, size)
        self.shared = nn.Linear(size, self.w_dim)
        self.offsets = nn.ModuleDict(
            {str(row): nn.Linear(size, self.w_dim) for row in range(1, self.num_ws)}
        )
        for last in (self.shared, *self.offsets.values()):  # no correction at first
            for tensor in last.parameters():
                nn.init.zeros_(tensor)

    @torch.no_grad()
    def standardise(self, features: Features) -> None:
        """Remember mean and spread of each channel, from many pictures."""
        for name in CHANNELS:
            x = getattr(features, name).float()
            getattr(self, f"{name}_mean").copy_(x.mean((0, 2, 3))[:, None, None])
            spread = x.std((0, 2, 3)).clamp(min=1e-3)
            getattr(self, f"{name}_scale").copy_(spread[:, None, None])

    def forward(self, features: Features, unlocked: int = Generator.num_ws) -> Tensor:
        """Whitened codes (B, 16, 512).

        Args:
            features: of the trunk.
            unlocked: rows from this one up have no correction of their own yet.
        """
        maps: dict[str, Tensor] = {}
        above: Tensor | None = None
        for name, lateral in self.lateral.items():
            x = getattr(features, name).float()
            x = (x - getattr(self, f"{name}_mean")) / getattr(self, f"{name}_scale")
            x = lateral(x)
            if above is not None:
                x = x + grown(above, x.shape[-1])
            maps[name] = above = x
        vectors = {name: level(maps[name]) for name, level in self.levels.items()}
        # Entries of a unit vector are small: brought to about one.
        identity = features.identity.float() * self.w_dim**0.5
        told = self.hidden(torch.cat([*vectors.values(), identity], 1))
        shared = self.shared(F.leaky_relu(told, 0.2))
        offsets = [torch.zeros_like(shared)]
        for name, rows in LEVELS.items():
            offsets += [
                self.offsets[str(row)](vectors[name])
                if row < unlocked
                else torch.zeros_like(shared)
                for row in rows
            ]
        return self.read(features) + shared[:, None] + torch.stack(offsets, 1)


class Encoder(nn.Module):
    """Aligned face to W+ code: trunk, pyramid, and the way out of whitening.

    Args:
        trunk: frozen.
        pyramid: trained.
        statistics: of w, whose coordinates the pyramid speaks.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, trunk: Trunk, pyramid: Pyramid, statistics: WStatistics) -> None:
        super().__init__()
        self.trunk, self.pyramid = trunk, pyramid
        self.register_buffer("mean", statistics.mean.float(), persistent=False)
        basis = statistics.colourer().float()
        self.register_buffer("basis", basis, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Aligned faces (B, 3, R, R) in [-1, 1], any R, to ws (B, 16, 512)."""
        return self.unwhiten(self.whitened(images))

    def whitened(self, images: Tensor) -> Tensor:
        """As ``forward``, in whitened coordinates."""
        return self.pyramid(self.look(images))

    def look(self, images: Tensor) -> Features:
        """What the trunk sees of a soft copy of ``images``."""
        side = images.shape[-1]
        check_shape(images, None, 3, side, side, name="images")
        return self.trunk(resize(images, SOFT))

    def look_again(
        self, images: Tensor, paint: Callable[[Tensor], Tensor], looks: int = LOOKS
    ) -> Tensor:
        """Codes whose pictures the encoder reads as it reads ``images``.

        What it reads is drawn towards the mean, and by as much when it reads a
        picture painted from that. So the code is moved by ``GAIN`` of the
        difference between both readings, ``looks`` times.

        Args:
            images: aligned faces (B, 3, R, R) in [-1, 1].
            paint: ws (B, 16, 512) to pictures, the generator's preview.
            looks: how often; none is ``forward``.

        Returns:
            ws (B, 16, 512).
        """
        return self.looks(images, paint, looks)[-1]

    def looks(
        self, images: Tensor, paint: Callable[[Tensor], Tensor], looks: int
    ) -> list[Tensor]:
        """As ``look_again``, with all before: ``looks`` + 1 codes (B, 16, 512)."""
        told = z = self.whitened(images)
        found = [self.unwhiten(z)]
        for _ in range(looks):
            z = z + GAIN * (told - self.whitened(paint(found[-1])))
            found.append(self.unwhiten(z))
        return found

    def unwhiten(self, z: Tensor) -> Tensor:
        """Whitened coordinates (..., 512) to w."""
        return self.mean + z @ self.basis


def load_encoder(
    identity: IdentityJudge,
    perceptual: nn.Module,
    device: str | torch.device = "cpu",
) -> Encoder:
    """The trained encoder, frozen, on top of two networks that are loaded already.

    Args:
        identity: the training judge, of ``judges.load_identity``.
        perceptual: LPIPS, of ``judges.load_lpips("alex")``.
        device: where those two are.
    """
    pyramid = Pyramid()
    stored = {name: value.float() for name, value in shipped_weights(FILE).items()}
    pyramid.load_state_dict(stored)
    encoder = Encoder(Trunk(identity, perceptual), pyramid, WStatistics.load())
    return encoder.to(device).eval().requires_grad_(False)
