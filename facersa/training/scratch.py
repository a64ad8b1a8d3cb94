"""Train the paper's mapper from random weights, by its three groups of losses.

Nothing is copied from another cipher. The default form is odd in the password, so -e
undoes e to first order; the published form is not. All else the losses have to teach.
A judge of codes (``distilled``) stands in for generator and judges, so a step of many
people takes a part of a second on a CPU. Each remedy for a known failure is an option
of ``ScratchRecipe``.

While it trains, each property is measured every so many steps on people of the pool who
are left out, by the same judge of codes. ``measure`` paints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facersa.cipher.modulation import MapperConfig, Modulation, ModulationMapper
from facersa.generator.base import Generator
from facersa.generator.statistics import WStatistics, whitening
from facersa.judges.networks import IdentityJudge, Landmarks
from facersa.ops import mixed
from facersa.people import training_people, varied_codes
from facersa.training.chains import fresh_codes, named_codes
from facersa.training.critic import compare_previews
from facersa.training.distilled import UNSEEN, CodeJudge
from facersa.training.loop import TrainConfig, seeded, stored
from facersa.training.losses import (
    LossWeights,
    PasswordReader,
    View,
    all_terms,
    landmark_l2,
    total,
)
from facersa.training.recipes import ScratchRecipe

STAGE = "by a judge of codes"  # in checkpoints and cards
SHOWN = 64  # people of the curves
# Curves: a property and the two codes that are compared.
CURVES: Mapping[str, tuple[str, str]] = {
    "b": ("I", "Ie1"),
    "c": ("I", "Ie1d1"),
    "d": ("I", "Ie1d'"),
    "d'": ("Ie1", "Ie1d'"),
    "d^": ("I", "Ie1d1^"),
    "e": ("Ie1", "Ie2"),
    "e^": ("Ie1", "Ie1^"),
    "f": ("Ie1", "Ie1e2d2"),
    "f2": ("I", "Ie1e2d2d1"),
    "g": ("Ie2", "Ie1e2d1"),
    "h": ("Ie1e2", "I(e1+e2)"),
    "h-": ("I", "Ie1e2(d1+d2)"),
}


@torch.no_grad()
def curve_codes(
    mapper: ModulationMapper, ws: Tensor, rng: torch.Generator
) -> dict[str, Tensor]:
    """The codes that ``CURVES`` names, each under random passwords."""
    e1, e2, wrong = fresh_codes(3, len(ws), mapper.num_bits, rng).to(ws)
    person = torch.arange(len(ws), device=ws.device)
    flipped = e1.clone()
    flipped[person, person % mapper.num_bits] *= -1  # another bit for each
    once = mapper(ws, e1)
    twice = mapper(once, e2)
    undone = mapper(twice, -e2)
    return {
        "I": ws,
        "Ie1": once,
        "Ie2": mapper(ws, e2),
        "Ie1^": mapper(ws, flipped),
        "Ie1d1": mapper(once, -e1),
        "Ie1d'": mapper(once, -wrong),
        "Ie1d1^": mapper(once, -flipped),
        "Ie1e2": twice,
        "Ie1e2d2": undone,
        "Ie1e2d2d1": mapper(undone, -e1),
        "Ie1e2d1": mapper(twice, -e1),
        "I(e1+e2)": mapper(ws, e1 + e2),
        "Ie1e2(d1+d2)": mapper(twice, -e1 - e2),
    }


class ScratchTask:
    """A ``training.loop.Task``: the paper's mapper, from random weights.

    Args:
        judge: of codes; takes the place of a ``Painter``.
        recipe: what to learn and by which losses.
        generator: draws the people, and paints those of ``measure``.
        identity: training judge, for ``measure``.
        landmarks: likewise.
        seed: of the first weights.
    """

    name = "mapper_faithful"
    painted = 24  # people that ``measure`` paints

    def __init__(
        self,
        judge: CodeJudge,
        recipe: ScratchRecipe,
        generator: Generator,
        identity: IdentityJudge,
        landmarks: Landmarks,
        *,
        seed: int = 0,
    ) -> None:
        self.judge, self.recipe, self.generator = judge, recipe, generator
        self.identity, self.landmarks = identity, landmarks
        with seeded(seed):
            self.mapper = ModulationMapper(MapperConfig(**recipe.options))
            self.reader = PasswordReader(self.mapper.num_bits)
        _begin(self.mapper, recipe)
        networks = {"mapper": self.mapper, "reader": self.reader}
        self.device = judge.mean.device
        self.module: nn.Module = nn.ModuleDict(networks).to(self.device)
        self.mean, self.axes = whitening(WStatistics.of(generator), self.device)

    def shipped(self) -> dict[str, Tensor]:
        """The mapper alone."""
        return stored(self.mapper)

    @property
    def settings(self) -> dict[str, Any]:
        """Recipe, the mapper's own settings and the judge, for checkpoint and card."""
        settings = {"recipe": asdict(self.recipe), "mapper": dict(self.mapper.settings)}
        return {"stage": STAGE, **settings, "judge": self.judge.fingerprint}

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Draw the people; the last ones are left out of training, for the curves."""
        self.config = config
        self.people = training_people(self.generator, config.pool, config.seed)
        self.split = round((1 - UNSEEN) * config.pool)

    def views(self, codes: Mapping[str, Tensor]) -> dict[str, View]:
        """A predicted view of every code; all in one pass."""
        return self.judge.views(codes, self.mapper.layers, self.mean, self.axes)

    def weights_at(self, step: int) -> LossWeights:
        """Recovery grows slowly: at full weight from the start nothing would move."""
        return self.recipe.weights.ramped(step, self.recipe.ramp * self.config.steps)

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The paper's total loss on random people, and now and then the curves."""
        recipe, weights = self.recipe, self.weights_at(step)
        picked = torch.randint(self.split, (self.config.batch,), generator=rng)
        ws = self.people[picked.to(self.device)]
        groups = set(recipe.groups)
        with mixed(self.device):
            codes, password = named_codes(
                self.mapper, ws, groups, recipe.pairs, rng, recipe.one_bit
            )
        views = self.views(codes)
        reading = self.reader(codes["Ie1"][:, self.mapper.layers[0]]), password
        terms = all_terms(views, groups, weights, reading=reading)
        loss, figures = total(terms)
        if step % recipe.curves_every == 0 or step + 1 == self.config.steps:
            figures |= self.curves()
        return loss, figures

    @torch.no_grad()
    def curves(self) -> dict[str, float]:
        """Each property of people left out, by the judge of codes: id_raw, and more."""
        count = min(SHOWN, len(self.people) - self.split)
        people = self.people[self.split : self.split + count]
        codes = curve_codes(self.mapper, people, torch.Generator().manual_seed(1))
        views = self.views(codes)
        figures = {}
        for name, (a, b) in CURVES.items():
            cosine = (views[a].identity * views[b].identity).sum(1)
            figures[f"curve {name}"] = float(cosine.mean())
        before, after, back = views["I"], views["Ie1"], views["Ie1d1"]
        assert back.perceptual is not None and before.perceptual is not None
        gap = (back.perceptual - before.perceptual).square().sum(1)
        moved = landmark_l2(before.landmarks, after.landmarks).sqrt()
        figures["curve lpips"] = float(gap.mean())
        figures["curve landmarks"] = float(moved)
        figures["curve size"] = float((after.code - before.code).square().mean().sqrt())
        figures["curve radius"] = float(after.code.square().mean().sqrt())
        return figures

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """The curves, and the same of painted previews of people never trained on."""
        figures, generator = self.curves(), self.generator
        if not self.painted:
            return figures
        ws = varied_codes(generator, self.painted, seed=0)
        codes = curve_codes(self.mapper, ws, torch.Generator().manual_seed(0))
        painted = compare_previews(
            generator, self.identity, self.landmarks, codes, CURVES
        )
        return figures | {f"painted {name}": value for name, value in painted.items()}


@torch.no_grad()
def _begin(mapper: ModulationMapper, recipe: ScratchRecipe) -> None:
    """Scale some first weights, so that passwords matter and the change is not tiny."""
    mapper.converter.first.weight *= recipe.password_gain
    if recipe.first_size and len(mapper.modules_):
        last: Any = mapper.modules_[-1]
        assert isinstance(last, Modulation)
        for path in (last.gamma, last.beta):
            layer: Any = path[-1]
            layer.weight *= recipe.first_size
            layer.bias *= recipe.first_size
