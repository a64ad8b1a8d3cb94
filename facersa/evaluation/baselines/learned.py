"""FIT-like and RiDDLE-like: two small networks that were taught to be undone.

Both read and write the paper's four rows along the leading axes of w. ``teach`` trains
them by the losses of a single pair of passwords; chains and sums were never in a loss.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.assets.registry import shipped_weights
from facersa.cipher.base import SLOPE, LearnedCipher
from facersa.errors import AssetError
from facersa.evaluation.baselines.base import NUM_BITS, Facts
from facersa.generator.statistics import WStatistics

FILE = "baselines.safetensors"
FIT = Facts(
    "FIT-like",
    "Gu, Luo, Ryoo and Lee: Password-conditioned anonymization and deanonymization "
    "with face identity transformers. ECCV 2020",
    2020,
    "gu2020passwordfit",
    "One network takes a face and a password; the complement of the password undoes "
    "it, and a wrong one gives another face.",
    (
        ("works on", "pictures", "rows 5 to 8 of a code"),
        ("network", "a conditional GAN on pixels", "three modulated layers of 64"),
        ("losses", "one pair of passwords, its own weights", "L_single of this paper"),
        ("training", "photographs, a GPU", "generated people, minutes on one core"),
        ("form", "any function", "odd in the password, as the faithful mapper here"),
    ),
)
RIDDLE = Facts(
    "RiDDLE-like",
    "Li, Wang, Zhao, Dong and Tan: RiDDLE: reversible and diversified "
    "de-identification with latent encryptor. CVPR 2023",
    2023,
    "li2023riddle",
    "A transformer mixes the rows of a code with a password, and the same password "
    "brings them back.",
    (
        ("works on", "all 18 rows of StyleGAN2", "rows 5 to 8 of MobileStyleGAN"),
        ("network", "larger transformer blocks", "two transformer layers of 64"),
        ("password", "a random latent code", "16 bits"),
        ("losses", "its own, many wrong passwords", "L_single of this paper"),
        ("training", "FFHQ inversions, a GPU", "generated people, minutes on one core"),
    ),
)


@dataclass(frozen=True)
class SmallConfig:
    """Sizes of both networks.

    Attributes:
        num_bits: length N of a password code.
        layers: edited rows.
        axes: leading axes of w that are read and written.
        width: of the hidden layers.
        depth: of these.
    """

    num_bits: int = NUM_BITS
    layers: tuple[int, ...] = (5, 6, 7, 8)
    axes: int = 128
    width: int = 64
    depth: int = 3


class _Small(LearnedCipher):
    """Whitened rows along few axes; ``network`` says how far they move."""

    exact = False
    mean: Tensor
    read: Tensor
    write: Tensor

    def __init__(self, config: SmallConfig | None = None) -> None:
        config = SmallConfig() if config is None else config
        super().__init__(config)
        self.register_axes(WStatistics.load(), config.axes, torch.float32)
        self.inward = nn.Linear(config.axes, config.width)
        self.outward = nn.Linear(config.width, config.axes)
        self.password = nn.Sequential(
            nn.Linear(config.num_bits, config.width),
            nn.LeakyReLU(SLOPE),
            nn.Linear(config.width, config.width),
        )

    def network(self, z: Tensor, code: Tensor) -> Tensor:
        """Whitened rows (B, rows, axes) and (B, N) to a step of the same shape."""
        raise NotImplementedError

    def change(self, ws: Tensor, code: Tensor) -> Tensor:
        """M(w, p), (B, rows, 512)."""
        z = (ws[:, list(self.layers)] - self.mean) @ self.read
        return self.network(z, code).float() @ self.write


class FitLike(_Small):
    """A password-conditioned mapper; -e undoes e as well as training taught it."""

    name = "FIT-like"
    facts = FIT

    def __init__(self, config: SmallConfig | None = None) -> None:
        super().__init__(config)
        width, depth = self.config.width, self.config.depth
        self.mixes = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.steer = nn.ModuleList(nn.Linear(width, 2 * width) for _ in range(depth))

    def _one(self, z: Tensor, code: Tensor) -> Tensor:
        x, v = self.inward(z), F.leaky_relu(self.password(code), SLOPE)
        for mix, steer in zip(self.mixes, self.steer, strict=True):
            gamma, beta = steer(v)[:, None].chunk(2, -1)
            x = F.leaky_relu(F.layer_norm(mix(x), x.shape[1:]) * gamma + beta, SLOPE)
        return self.outward(x)

    def network(self, z: Tensor, code: Tensor) -> Tensor:
        """Odd in the password: half of what p does less what -p does."""
        both = self._one(torch.cat([z, z]), torch.cat([code, -code]))
        forward, backward = both.chunk(2)
        return (forward - backward) / 2

    def decrypt(self, ws: Tensor, code: Tensor) -> Tensor:
        """The complement of every bit."""
        return self(ws, -code)


class RiddleLike(_Small):
    """A transformer over the rows and the password; e undoes e as well as taught."""

    name = "RiDDLE-like"
    facts = RIDDLE

    def __init__(self, config: SmallConfig | None = None) -> None:
        super().__init__(config)
        width = self.config.width
        self.place = nn.Parameter(torch.randn(len(self.layers), width) * 0.1)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 2 * width, 0.0, batch_first=True, norm_first=True
            )
            for _ in range(self.config.depth - 1)
        )

    def network(self, z: Tensor, code: Tensor) -> Tensor:
        """The rows attend to one another and to the password."""
        tokens = torch.cat(
            [self.inward(z) + self.place, self.password(code)[:, None]], 1
        )
        for block in self.blocks:
            tokens = block(tokens)
        return self.outward(tokens[:, :-1])

    def decrypt(self, ws: Tensor, code: Tensor) -> Tensor:
        """The same password."""
        return self(ws, code)


LEARNED: dict[str, type[FitLike] | type[RiddleLike]] = {
    "fit": FitLike,
    "riddle": RiddleLike,
}


def load_baseline(name: str) -> FitLike | RiddleLike:
    """One of ``LEARNED`` with the weights that ship, frozen.

    Raises:
        AssetError: they are missing or damaged.
    """
    card_file = resources.files("facersa") / "weights/baselines.json"
    try:
        card: dict[str, Any] = json.loads(card_file.read_text())
        sizes = dict(card["settings"]["sizes"])
        sizes["layers"] = tuple(sizes["layers"])
        system = LEARNED[name](SmallConfig(**sizes))
        tensors = shipped_weights(FILE)
        own = {
            key.removeprefix(f"{name}."): value.float()
            for key, value in tensors.items()
            if key.startswith(f"{name}.")
        }
        system.load_state_dict(own)
    except (OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise AssetError(
            f"the weights of the {name} baseline cannot be read ({reason}); train "
            "them with: facersa train baselines"
        ) from error
    return system.eval().requires_grad_(False)
