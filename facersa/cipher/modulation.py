"""The paper's cipher: a password converter and a modulation mapper (section 3.2).

A password code becomes a vector, the vector modulates a small network that
looks at the code of a face, and what comes out is added to the identity rows:

    w' = w + strength * M(w, p)                             on ``layers`` only

One network serves both directions: e encrypts and d = -e decrypts. Nothing in
this form makes d undo e; the losses have to teach it. ``ModulationMapper`` is
the published network with each of its quirks a named option.

Two learned ciphers of ours are exact by construction: ``ring`` and ``steered``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.cipher.base import SLOPE, W_DIM, LearnedCipher
from facersa.ops import pixel_norm

Norm = Literal["features", "rows", "none"]
MAX_MODULES = 64


@dataclass(frozen=True)
class MapperConfig:
    """What rebuilds a ``ModulationMapper``; ``published()`` is the paper's.

    Attributes:
        num_bits: length N of a password code.
        layers: edited rows, 0-based: the paper's "layers 6-9".
        modules: modulation modules, one after the other.
        strength: factor on M.
        norm: the pixel norm runs over "features" (as in StyleGAN) or over
            "rows" (as published), or there is "none". The norm over features removes
            the length of a row for good: a long and a short row of one direction are
            changed alike, so d cannot undo e for both.
        last_activation: whether a LeakyReLU follows the last module. Then nearly
            all changes are positive, and -p cannot undo p.
        one_plus: modulate by 1 + gamma(p) instead of gamma(p).
        odd: use (M(w, p) - M(w, -p)) / 2, so that M(w, 0) = 0 and, for one w,
            -p is exactly the opposite of p.
    """

    num_bits: int = 16
    layers: tuple[int, ...] = (5, 6, 7, 8)
    modules: int = 3
    strength: float = 0.1
    norm: Norm = "features"
    last_activation: bool = False
    one_plus: bool = False
    odd: bool = True

    @classmethod
    def published(cls) -> MapperConfig:
        """As the authors' inference code fixes it."""
        return cls(norm="rows", last_activation=True, odd=False)


class PasswordConverter(nn.Module):
    """Password code (B, N) to a vector (B, 512): two linear layers."""

    def __init__(self, num_bits: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(num_bits, W_DIM)
        self.second = nn.Linear(W_DIM, W_DIM)

    def forward(self, code: Tensor) -> Tensor:
        """Convert ``code``."""
        hidden = F.leaky_relu(self.first(code), SLOPE)
        return F.leaky_relu(self.second(hidden), SLOPE)


def _from_password() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(W_DIM, W_DIM),
        nn.LayerNorm(W_DIM),
        nn.LeakyReLU(SLOPE),
        nn.Linear(W_DIM, W_DIM),
    )


class Modulation(nn.Module):
    """x (B, rows, 512) and password vector v (B, 512) to (B, rows, 512).

        y = LayerNorm(linear(x)) * gamma(v) + beta(v)

    The norm runs over the whole [rows, 512] block and learns nothing; all rows
    share gamma and beta. ``one_plus`` multiplies by 1 + gamma(v) instead.
    """

    def __init__(self, *, one_plus: bool) -> None:
        super().__init__()
        self.linear = nn.Linear(W_DIM, W_DIM)
        self.gamma, self.beta = _from_password(), _from_password()
        self.one_plus = one_plus

    def forward(self, x: Tensor, v: Tensor) -> Tensor:
        """Modulate ``x`` by ``v``."""
        x = self.linear(x)
        x = F.layer_norm(x, x.shape[1:])
        gamma = self.gamma(v)[:, None]
        return x * (1 + gamma if self.one_plus else gamma) + self.beta(v)[:, None]


class ModulationMapper(LearnedCipher):
    """The paper's mapper, with the published network's options in ``config``."""

    name = "faithful"
    exact = False

    def __init__(self, config: MapperConfig | None = None) -> None:
        config = MapperConfig() if config is None else config
        super().__init__(config)
        if config.norm not in get_args(Norm):
            raise ValueError(
                f"norm must be one of {get_args(Norm)}, got {config.norm!r}."
            )
        if not 0 <= config.modules <= MAX_MODULES:
            raise ValueError(f"modules go up to {MAX_MODULES}, got {config.modules}.")
        self.converter = PasswordConverter(config.num_bits)
        self.modules_ = nn.ModuleList(
            Modulation(one_plus=config.one_plus) for _ in range(config.modules)
        )

    def change(self, ws: Tensor, code: Tensor) -> Tensor:
        """M(w, p): (B, rows of ``ws``, 512) and (B, N) to (B, edited rows, 512)."""
        rows = ws[:, list(self.layers)]
        dim = {"features": -1, "rows": -2}.get(self.config.norm)
        x = rows if dim is None else pixel_norm(rows, dim)
        if not self.config.odd:
            return self._network(x, code)
        both = self._network(torch.cat([x, x]), torch.cat([code, -code]))
        forward, backward = both.chunk(2)
        return (forward - backward) / 2

    def _network(self, x: Tensor, code: Tensor) -> Tensor:
        v = self.converter(code)
        last = len(self.modules_) - 1
        for index, module in enumerate(self.modules_):
            x = module(x, v)
            if index < last or self.config.last_activation:
                x = F.leaky_relu(x, SLOPE)
        return x

    def step(self, ws: Tensor, code: Tensor) -> Tensor:
        """``strength`` times M(w, p)."""
        return self.config.strength * self.change(ws, code)


class AssembledMapper(ModulationMapper):
    """The same network with weights that were written down, not learned.

    They do what a ring does (``training.assembly``). Files of format versions 1 and 2
    call this cipher "faithful".
    """

    name = "assembled"
