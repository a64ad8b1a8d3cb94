"""Photograph to W+ code in one pass: a small encoder in the manner of e4e.

After Tov et al. 2021: a feature pyramid; one correction for all rows, and for each
further row an offset, which training unlocks row after row and keeps small; codes
near the mean. What differs is the size. Their trunk is a face recognition network of
44 million weights, trained along. Here the trunk is frozen: the identity judge reads
the face and the convolutions of LPIPS the whole picture. A linear regression in closed
form makes a first guess, and only the pyramid that corrects it is trained. As in
ReStyle (Alaluf et al. 2021) the result is refined by encoding its own picture; there
that is learned, here it is a fixed-point iteration (``refine``).

The training judge of identity is part of the encoder, so its similarities are biased
in the encoder's favour: use the held-out judge.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.assets.registry import shipped_weights
from facersa.generator.mobile_stylegan import MobileStyleGAN
from facersa.generator.statistics import WStatistics
from facersa.inversion.trunk import CHANNELS, SIDES, SOFT, Features, Trunk, grown
from facersa.judges.networks import IdentityJudge
from facersa.ops import check_shape
from facersa.photo.images import resize

FILE = "encoder.safetensors"
NUM_WS, W_DIM = MobileStyleGAN.num_ws, MobileStyleGAN.w_dim

# Rows and the level they are read from; row 0 is w0, read from all levels.
LEVELS = {"coarse": range(1, 3), "middle": range(3, 7), "fine": range(7, 16)}
ROUNDS, GAIN = 1, 0.5  # of ``refine``; many more make the code worse


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

    The best linear read has a closed form (see ``fit``), so it needs no gradient.
    Photographs have features that no generated face has. To bound their effect,
    features are clamped to ``limit`` standard deviations.
    """

    mean: Tensor
    scale: Tensor
    pooled = {"coarse": 4, "middle": 4, "fine": 4}
    limit = 3.0

    def __init__(self, rank: int = 128) -> None:
        super().__init__()
        inputs = W_DIM
        inputs += sum(CHANNELS[name] * side**2 for name, side in self.pooled.items())
        self.register_buffer("mean", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.down = nn.Linear(inputs, rank, bias=False)
        self.up = nn.Linear(rank, NUM_WS * W_DIM)

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
        return self.up(self.down(within)).view(-1, NUM_WS, W_DIM)

    @torch.no_grad()
    def fit(self, x: Tensor, z: Tensor, axes: Tensor) -> None:
        """Reduced-rank ridge regression.

        Args:
            x: (n, inputs) of ``inputs``.
            z: (n, 16, 512) whitened codes.
            axes: (512,) standard deviations of w along the whitened axes, so that the
                rank is spent on variance of w.
        """
        self.mean.copy_(x.mean(0))
        self.scale.copy_(x.std(0).clamp(min=1e-3))
        x, typical = self.standardise(x), z.mean(0)
        y = ((z - typical) * axes).flatten(1)
        kernel = x @ x.T
        penalty = x.shape[1] * torch.eye(len(x), device=x.device)
        dual = torch.linalg.solve(kernel + penalty, y)
        rank = self.down.out_features
        _, _, basis = torch.svd_lowrank(kernel @ dual, q=min(rank, len(x)), niter=4)
        self.down.weight.zero_()
        self.down.weight[: basis.shape[1]] = (x.T @ (dual @ basis)).T
        up = (basis.T.reshape(-1, *z.shape[1:]) / axes).flatten(1)
        self.up.weight.zero_()
        self.up.weight[:, : basis.shape[1]] = up.T
        self.up.bias.copy_(typical.flatten())


class Pyramid(nn.Module):
    """Features to codes in whitened coordinates: the part that is trained.

    A linear read, one correction for all rows, and one for each further row.

    Args:
        width: channels of the pyramid.
        size: of the vector each level becomes.
    """

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
        self.hidden = nn.Linear(len(SIDES) * size + W_DIM, size)
        self.shared = nn.Linear(size, W_DIM)
        self.offsets = nn.ModuleDict(
            {str(row): nn.Linear(size, W_DIM) for row in range(1, NUM_WS)}
        )
        for last in (self.shared, *self.offsets.values()):  # no correction at first
            for tensor in last.parameters():
                nn.init.zeros_(tensor)

    @torch.no_grad()
    def standardise(self, features: Features) -> None:
        """Set mean and standard deviation of each channel, from many pictures."""
        for name in CHANNELS:
            x = getattr(features, name).float()
            getattr(self, f"{name}_mean").copy_(x.mean((0, 2, 3))[:, None, None])
            spread = x.std((0, 2, 3)).clamp(min=1e-3)
            getattr(self, f"{name}_scale").copy_(spread[:, None, None])

    def forward(self, features: Features, unlocked: int = NUM_WS) -> Tensor:
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
        identity = features.identity.float() * W_DIM**0.5
        hidden = self.hidden(torch.cat([*vectors.values(), identity], 1))
        shared = self.shared(F.leaky_relu(hidden, 0.2))
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
    """Aligned face to W+ code of MobileStyleGAN: trunk, pyramid, and unwhitening.

    Args:
        trunk: frozen.
        pyramid: trained.
        statistics: of w, for the whitened coordinates of the pyramid.
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
        return self.unwhiten(self.pyramid(self.features(images)))

    def features(self, images: Tensor) -> Features:
        """Features of a smoothed copy of ``images`` (B, 3, R, R)."""
        side = images.shape[-1]
        check_shape(images, None, 3, side, side, name="images")
        return self.trunk(resize(images, SOFT))

    def unwhiten(self, z: Tensor) -> Tensor:
        """Whitened coordinates (..., 512) to w."""
        return self.mean + z @ self.basis


def refine(
    encoder: Callable[[Tensor], Tensor],
    images: Tensor,
    paint: Callable[[Tensor], Tensor],
    rounds: int = ROUNDS,
) -> list[Tensor]:
    """Codes whose pictures the encoder encodes as it encodes ``images``.

    An encoder draws its codes towards the mean, and draws the code of a painted picture
    by as much again. So each step adds ``GAIN`` times the difference between the codes
    of ``images`` and of the picture of the last code.

    Args:
        encoder: aligned faces (B, 3, R, R) to ws (B, num_ws, w_dim).
        images: aligned faces (B, 3, R, R) in [-1, 1].
        paint: ws to pictures, the generator's preview.
        rounds: number of steps; 0 is the encoder alone.

    Returns:
        ``rounds`` + 1 codes (B, num_ws, w_dim), from the encoder's to the last.
    """
    codes = [target := encoder(images)]
    for _ in range(rounds):
        codes.append(codes[-1] + GAIN * (target - encoder(paint(codes[-1]))))
    return codes


def load_encoder(
    identity: IdentityJudge,
    perceptual: nn.Module,
    device: str | torch.device = "cpu",
) -> Encoder:
    """The trained encoder, frozen, on top of two loaded networks.

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
