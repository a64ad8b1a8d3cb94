"""Random edits of a person's rows, of the kinds a mapper in training makes.

The judge of codes (``distilled``) learns what they do to a face, from a ``pool``.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.cipher.base import LearnedCipher
from facersa.cipher.modulation import MapperConfig, ModulationMapper
from facersa.generator.statistics import WStatistics
from facersa.training.chains import fresh_codes


class Edits:
    """Random changes of the edited rows, of the kinds a mapper in training makes.

    Args:
        layers: the rows.
        statistics: of w.
        rng: of every choice.
        mapper: a trained one, whose outputs most of the edits are then.
    """

    def __init__(
        self,
        layers: tuple[int, ...],
        statistics: WStatistics,
        rng: torch.Generator,
        mapper: LearnedCipher | None = None,
    ) -> None:
        self.layers, self.rng, self.mapper = layers, rng, mapper
        self.mean = statistics.mean.float()
        self.whitener = statistics.whitener().float()
        self.colourer = statistics.colourer().float()
        self.size = float(statistics.eigenvalues.sum().sqrt())

    def _uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.rng))

    def _coin(self, chance: float) -> bool:
        return self._uniform(0, 1) < chance

    def _normal(self) -> Tensor:
        """(rows, 512); half of the time one vector for all rows."""
        rows = 1 if self._coin(0.5) else len(self.layers)
        noise = torch.randn(rows, 512, generator=self.rng)
        return noise.expand(len(self.layers), -1)

    def coloured(self, rows: Tensor, other: Tensor) -> Tensor:
        """A shift along axes of w, all of them or the leading ones."""
        z = self._normal()
        axes = 2 ** int(self._uniform(4, 10))
        z = torch.where(torch.arange(512) < axes, z, 0.0)
        z = z / z.square().mean().sqrt()
        return rows + math.exp(self._uniform(-3, 0.5)) * z @ self.colourer

    def isotropic(self, rows: Tensor, other: Tensor) -> Tensor:
        """A shift in any direction of the space, sometimes of one sign only."""
        shift = self._normal()
        if self._coin(0.5):
            shift = F.leaky_relu(shift, 0.01)
        size = math.exp(self._uniform(-3, 0.2)) * self.size / 512**0.5
        return rows + size * shift

    def donated(self, rows: Tensor, other: Tensor) -> Tensor:
        """Part of the way to another person, the same for all rows or not."""
        share = torch.rand(len(self.layers), 1, generator=self.rng)
        if self._coin(0.5):
            share[:] = share[0]
        return rows + 1.3 * share * (other - rows)

    def turned(self, rows: Tensor, other: Tensor) -> Tensor:
        """Turned towards another person's rows in whitened coordinates, or away."""
        z, towards = ((x - self.mean) @ self.whitener for x in (rows, other))
        angle = self._uniform(-math.pi, math.pi)
        scale = self._uniform(0.6, 1.1)
        z = scale * (math.cos(angle) * z + math.sin(angle) * towards)
        return self.mean + z @ self.colourer

    def mapped(self, rows: Tensor, other: Tensor) -> Tensor:
        """Encrypted by a mapper of the paper's form with random weights."""
        seed = int(torch.randint(2**31, (), generator=self.rng))
        config = MapperConfig() if self._coin(0.5) else MapperConfig.published()
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            mapper = ModulationMapper(config)
            chain = int(self._uniform(1, 5))
            codes = fresh_codes(chain, 1, config.num_bits, self.rng)
            ws = torch.zeros(1, max(self.layers) + 1, 512)
            ws[:, list(self.layers)] = rows
            size = math.exp(self._uniform(-3, 0.2)) * self.size / 512**0.5 * chain**-0.5
            for code in codes:
                step = mapper.change(ws, code)
                ws[:, list(self.layers)] += size * step / step.square().mean().sqrt()
        return ws[0, list(self.layers)]

    @torch.no_grad()
    def encrypted(self, mapper: LearnedCipher, rows: Tensor, other: Tensor) -> Tensor:
        """Under one to four passwords or a sum, then nearer or farther, or shifted."""
        codes = fresh_codes(int(self._uniform(1, 5)), 1, mapper.num_bits, self.rng)
        ws = torch.zeros(1, max(self.layers) + 1, 512)
        ws[:, list(self.layers)] = rows
        for code in [codes.sum(0)] if self._coin(0.25) else codes:
            ws = mapper(ws, code)
        step = ws[0, list(self.layers)] - rows
        edited = (
            rows + self._uniform(0.5, 1.4) * step if self._coin(0.5) else rows + step
        )
        return self.coloured(edited, other) if self._coin(0.2) else edited

    def __call__(self, rows: Tensor, other: Tensor) -> Tensor:
        """One random change of ``rows`` (rows, 512); ``other`` is another person's.

        Half of the results are pulled back to typical length, as losses would.
        """
        if self.mapper is not None and self._coin(0.8):
            return self.encrypted(self.mapper, rows, other)
        chances = torch.tensor([0.25, 0.15, 0.2, 0.2, 0.2])
        kinds = self.coloured, self.isotropic, self.donated, self.turned, self.mapped
        edited = rows
        for _ in range(1 + self._coin(0.25)):
            kind = int(torch.multinomial(chances, 1, generator=self.rng))
            edited = kinds[kind](edited, other)
        if self._coin(0.5):
            z = (edited - self.mean) @ self.whitener
            radius = z.square().mean(1, keepdim=True).sqrt()
            own = ((rows - self.mean) @ self.whitener).square().mean(1, keepdim=True)
            longest = own.sqrt().clamp_min(0.85) * self._uniform(0.9, 1.3)
            edited = self.mean + z * (longest / radius).clamp_max(1) @ self.colourer
        return edited
