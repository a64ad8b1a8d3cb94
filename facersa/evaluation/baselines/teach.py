"""Train the FIT-like and the RiDDLE-like network by the losses of a single pair.

Both learn from the judge of codes, as the faithful mapper does (``training.scratch``),
with as many steps and people, and without L_seq and L_asso: the originals had no such
losses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facersa.evaluation.baselines.learned import (
    LEARNED,
    FitLike,
    RiddleLike,
    SmallConfig,
)
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics, whitening
from facersa.people import training_people
from facersa.training.chains import altered_codes, fresh_codes
from facersa.training.distilled import UNSEEN, CodeJudge
from facersa.training.loop import TrainConfig, seeded, stored
from facersa.training.losses import LossWeights, PasswordReader, View, all_terms, total
from facersa.training.recipes import TAUGHT

SHOWN = 64  # people of the figures
# "cpu" has the steps, people and batch of our own mapper.
BASELINES: Mapping[str, TrainConfig] = {
    "smoke": TrainConfig(steps=4, batch=2, lr=1e-3, pool=64, save_every=2),
    "cpu": TrainConfig(steps=1000, batch=16, lr=3e-3, pool=8000, save_every=250),
    "gpu": TrainConfig(steps=10_000, batch=64, lr=3e-3, pool=20_000, save_every=1000),
}


def single_codes(
    system: FitLike | RiddleLike, ws: Tensor, rng: torch.Generator
) -> tuple[dict[str, Tensor], Tensor]:
    """The codes of L_single by the names of ``training.chains``, and e1 (B, N)."""
    (e,) = fresh_codes(1, len(ws), system.num_bits, rng).to(ws)
    wrong, other = altered_codes(e, rng), altered_codes(e, rng)
    once = system(ws, e)
    codes = {"I": ws, "Ie1": once, "Ie2": system(ws, other)}
    codes["Ie1d'"] = system.decrypt(once, wrong)
    return codes | {"Ie1d1": system.decrypt(once, e)}, e


class BaselineTask:
    """A ``training.loop.Task``: both networks, each by its own loss, step by step.

    Args:
        judge: of codes.
        generator: draws the people.
        sizes: of both networks.
        weights: of the losses.
        seed: of the first weights.
    """

    name = "baselines"

    def __init__(
        self,
        judge: CodeJudge,
        generator: Generator,
        sizes: SmallConfig | None = None,
        weights: LossWeights = TAUGHT,
        *,
        seed: int = 0,
    ) -> None:
        self.judge, self.generator, self.weights = judge, generator, weights
        self.sizes = SmallConfig() if sizes is None else sizes
        with seeded(seed):
            self.systems = {k: build(self.sizes) for k, build in LEARNED.items()}
            readers = {k: PasswordReader(self.sizes.num_bits) for k in LEARNED}
        self.device = judge.mean.device
        self.readers = nn.ModuleDict(readers).to(self.device)
        self.both = nn.ModuleDict(self.systems).to(self.device)
        networks = {"systems": self.both, "readers": self.readers}
        self.module: nn.Module = nn.ModuleDict(networks)
        self.mean, self.axes = whitening(WStatistics.of(generator), self.device)

    @property
    def settings(self) -> dict[str, Any]:
        """Sizes, weights of the losses and the judge, for checkpoint and card."""
        sizes, weights = asdict(self.sizes), asdict(self.weights)
        return {"sizes": sizes, "weights": weights, "judge": self.judge.fingerprint}

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Draw the people; the last ones are left out of training, for the figures."""
        self.config = config
        self.people = training_people(self.generator, config.pool, config.seed)
        self.split = round((1 - UNSEEN) * config.pool)

    def views(self, codes: dict[str, Tensor]) -> dict[str, View]:
        """A predicted view of every code; all in one pass."""
        return self.judge.views(codes, self.sizes.layers, self.mean, self.axes)

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """L_single and the reader's loss of both, on the same people."""
        picked = torch.randint(self.split, (self.config.batch,), generator=rng)
        ws = self.people[picked.to(self.device)]
        losses: list[Tensor] = []
        figures: dict[str, float] = {}
        for name, system in self.systems.items():
            codes, password = single_codes(system, ws, rng)
            reading = self.readers[name](codes["Ie1"][:, system.layers[0]]), password
            views = self.views(codes)
            loss, own = total(
                all_terms(views, {"single"}, self.weights, reading=reading)
            )
            losses.append(loss)
            figures |= {f"{name} {term}": value for term, value in own.items()}
        return torch.stack(losses).sum(), figures

    def shipped(self) -> dict[str, Tensor]:
        """Both systems, without their readers."""
        return stored(self.both)

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """id_raw by the judge of codes, on people left out: (b), (c), (d) and (e)."""
        count = min(SHOWN, len(self.people) - self.split)
        ws = self.people[self.split : self.split + count]
        figures = {}
        pairs = {"b": ("I", "Ie1"), "c": ("I", "Ie1d1"), "d": ("I", "Ie1d'")}
        for name, system in self.systems.items():
            codes, _ = single_codes(system, ws, torch.Generator().manual_seed(1))
            views = self.views(codes)
            for prop, (a, b) in (pairs | {"e": ("Ie1", "Ie2")}).items():
                cosine = (views[a].identity * views[b].identity).sum(1)
                figures[f"{name} curve {prop}"] = float(cosine.mean())
        return figures
