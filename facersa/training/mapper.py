"""Training a mapper: people, passwords, pictures and the three groups of losses.

Up to two stages. In *distillation* a mapper learns from a trained one that is exact, in
code space: a start where d already undoes e and passwords already matter (``assembly``
can set its first weights, so that little is left to learn). In the *painted* stage the
generator paints every code and the training judges see the pictures.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from facersa.cipher.base import LearnedCipher
from facersa.cipher.catalogue import build_learned, load_learned
from facersa.cipher.modulation import ModulationMapper
from facersa.cipher.ring import RingMapper
from facersa.generator.base import Generator
from facersa.generator.parts import GeneratorParser
from facersa.generator.statistics import WStatistics, whitening
from facersa.judges.bisenet import BiSeNet
from facersa.judges.networks import IdentityJudge, Landmarks
from facersa.people import training_people, varied_codes
from facersa.training.assembly import become_ring
from facersa.training.chains import GROUPS, Group, fresh_codes, named_codes
from facersa.training.critic import Critic, Painter, compare_previews
from facersa.training.directions import identity_directions, output_gradients, shrunk
from facersa.training.distillation import distillation_loss
from facersa.training.loop import TrainConfig, seeded, stored
from facersa.training.losses import (
    Distance,
    LossWeights,
    PasswordReader,
    View,
    all_terms,
    total,
)
from facersa.training.recipes import Recipe


class MapperTask:
    """Train one mapper by a recipe.

    Args:
        generator: frozen.
        identity: training judge.
        landmarks: training judge.
        parser: as ``Painter`` takes it; None leaves the parsing loss out.
        lpips: perceptual distance of two pictures.
        recipe: what to train and how.
        teacher: a trained mapper that is exact, for distillation.
        statistics: of the generator's w; those in the package where none are given.
        seed: of the initial weights.

    Raises:
        ValueError: the recipe needs a teacher, and there is none of its kind; or an
            exact cipher, and the mapper is not.
    """

    def __init__(
        self,
        generator: Generator,
        identity: IdentityJudge,
        landmarks: Landmarks,
        parser: GeneratorParser | BiSeNet | None,
        lpips: Distance,
        recipe: Recipe,
        teacher: LearnedCipher | None = None,
        *,
        statistics: WStatistics | None = None,
        seed: int = 0,
    ) -> None:
        if recipe.distillation_steps and teacher is None:
            raise ValueError(
                "`distillation_steps` needs a trained exact mapper; pass it as teacher."
            )
        if recipe.assembled and not isinstance(teacher, RingMapper):
            raise ValueError(
                f"`assembled` needs a ring, got {type(teacher).__name__}; pass a ring "
                "as teacher."
            )
        self.teacher = teacher
        self.generator, self.lpips, self.recipe = generator, lpips, recipe
        self.identity, self.landmarks = identity, landmarks
        self.device = generator.w_avg.device
        self.name = f"mapper_{recipe.mapper}"
        with seeded(seed):
            self.mapper = build_learned(recipe.mapper, recipe.options, statistics)
            self.reader = PasswordReader(self.mapper.num_bits)
            self.critic = Critic()
        if recipe.start:
            self.mapper.load_state_dict(load_learned(recipe.start).state_dict())
        self.exact = self.mapper.exact
        if recipe.weights.natural and not self.exact:
            raise ValueError(  # the critic would take decrypted people for encrypted
                "`natural` needs an exact cipher; set its weight to 0 for this one."
            )
        stats = WStatistics.load() if statistics is None else statistics
        self.mean, self.axes = whitening(stats, self.device)
        networks: dict[str, nn.Module] = {"mapper": self.mapper, "reader": self.reader}
        if recipe.weights.natural:
            networks["critic"] = self.critic
        self.module = nn.ModuleDict(networks).to(self.device)
        self.painter = Painter(generator, identity, landmarks, parser)

    def shipped(self) -> dict[str, Tensor]:
        """The mapper alone."""
        return stored(self.mapper)

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe and the mapper's own settings, for checkpoint and card."""
        return {"recipe": asdict(self.recipe), "mapper": dict(self.mapper.settings)}

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Draw the people; set first directions or weights, and the critic's scale."""
        self.config = config
        self.codes = training_people(self.generator, config.pool, config.seed)
        if (folder / "state").exists():
            return
        rng = torch.Generator().manual_seed(config.seed)
        if isinstance(self.mapper, RingMapper):
            codes = self.codes[: self.recipe.gradient_people]
            gradients = output_gradients(
                self.generator,
                [self.identity.embed, self.landmarks.landmarks, shrunk],
                codes,
                layers=self.mapper.layers,
                axes=self.mapper.write,
            )
            number = len(self.mapper.directions)
            self.mapper.start_along(identity_directions(gradients, number), rng)
        if self.recipe.assembled:
            assert isinstance(self.mapper, ModulationMapper)
            assert isinstance(self.teacher, RingMapper)
            become_ring(self.mapper, self.teacher, self.codes, rng)
        if self.recipe.weights.natural:
            self._scale_critic(rng)

    @torch.no_grad()
    def _scale_critic(self, rng: torch.Generator) -> None:
        """Mean and spread of the critic's input, of people plain and encrypted."""
        codes = self.codes[: self.recipe.critic_people]
        (e,) = self._passwords(1, len(codes), rng)
        both = torch.cat([codes, self.mapper(codes, e)])
        parts = tqdm(both.split(4), desc="critic", unit="part")
        pictures = (self.generator.preview(part) for part in parts)
        textures = [self.painter.texture(picture)[1] for picture in pictures]
        self.critic.standardise(torch.cat(textures))

    def _people(self, count: int, rng: torch.Generator) -> Tensor:
        picked = torch.randint(len(self.codes), (count,), generator=rng)
        return self.codes[picked.to(self.device)]

    def _passwords(self, number: int, count: int, rng: torch.Generator) -> Tensor:
        """Fresh codes (number, count, N)."""
        return fresh_codes(number, count, self.mapper.num_bits, rng).to(self.device)

    def weights_at(self, step: int) -> LossWeights:
        """Recovery grows slowly: at full weight from the start nothing would move."""
        return self.recipe.weights.ramped(step, self.recipe.ramp * self.config.steps)

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Distillation, or the paper's total loss and our terms, on random people.

        A critic's own loss is added: its gradient does not reach the mapper.
        """
        if step < self.recipe.distillation_steps:
            loss = self._distillation(step, rng)
            return loss, {"distillation": loss.item()}
        recipe = self.recipe
        # Of an exact mapper, sums are right by construction.
        groups: set[Group] = set(GROUPS[:2] if self.exact else GROUPS)
        if not recipe.every_group:
            shares = [0.7, 0.3, 0.0] if self.exact else [0.5, 0.25, 0.25]
            drawn = torch.multinomial(torch.tensor(shares), 1, generator=rng)
            groups = {GROUPS[int(drawn)]}
        weights = self.weights_at(step)
        ws = self._people(self.config.batch, rng)
        pairs = recipe.pairs
        if not recipe.every_group:  # else all steps have pictures of one number
            pairs = int(torch.randint(2, pairs + 1, (), generator=rng))
        codes, password = named_codes(self.mapper, ws, groups, pairs, rng)
        views = self._views(codes)
        reading = self.reader(codes["Ie1"][:, self.mapper.layers[0]]), password
        terms = all_terms(views, groups, weights, self.lpips, reading=reading)
        if weights.natural:
            terms.append({"critic": self._critic_loss(views)})
        loss, figures = total(terms)
        cosine = (views["I"].identity * views["Ie1"].identity).sum(1).mean()
        return loss, {**figures, "id_raw": cosine.item()}

    def _distillation(self, step: int, rng: torch.Generator) -> Tensor:
        recipe = self.recipe
        assert self.teacher is not None
        return distillation_loss(
            self.mapper,
            self.teacher,
            self._people(recipe.distillation_batch, rng),
            self.axes,
            rng,
            # An assembled student has no errors large enough to learn from.
            own=not recipe.assembled and 2 * step >= recipe.distillation_steps,
            most=recipe.summed,
        )

    def _critic_loss(self, views: dict[str, View]) -> Tensor:
        """Of an exact mapper: every view but the person's own is encrypted."""
        textures = {id(view): view.texture for view in views.values()}
        plain = textures.pop(id(views["I"]))
        assert plain is not None
        encrypted = torch.cat([x for x in textures.values() if x is not None])
        return self.critic.loss(plain, encrypted, self.recipe.r1)

    def _views(self, codes: dict[str, Tensor]) -> dict[str, View]:
        """A view of every code; a tensor with two names is painted once."""
        distinct = {id(ws): ws for ws in codes.values()}
        views: dict[int, View] = {}
        for learns in (False, True):  # the original needs no gradient
            keys = [key for key, ws in distinct.items() if ws.requires_grad == learns]
            if not keys:
                continue
            with torch.set_grad_enabled(learns):
                together = torch.cat([distinct[key] for key in keys])
                code = (together[:, list(self.mapper.layers)] - self.mean) @ self.axes
                view = self.painter(together, code)
                if self.recipe.weights.natural and view.texture is not None:
                    logits = self.critic(view.texture, learns=False)
                    view = view._replace(logits=logits)
            size = len(together) // len(keys)
            for index, key in enumerate(keys):
                views[key] = view.part(index * size, (index + 1) * size)
        return {name: views[id(ws)] for name, ws in codes.items()}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Previews of people never trained on, by the training judges."""
        count = min(24, len(self.codes))
        ws = varied_codes(self.generator, count, seed=0)
        e, other = self._passwords(2, count, torch.Generator().manual_seed(0))
        flipped = e.clone()
        flipped[:, 0] *= -1
        once = self.mapper(ws, e)
        twice = self.mapper(once, other)
        named = {
            "I": ws,
            "Ie1": once,
            "Ie1^": self.mapper(ws, flipped),
            "Ie1d1": self.mapper(once, -e),
            "Ie1e2d1": self.mapper(twice, -e),
            "Ie2": self.mapper(ws, other),
            "Ie1e2": twice,
            "I(e1+e2)": self.mapper(ws, e + other),
        }
        pairs = [("I", "Ie1"), ("Ie1", "Ie1^"), ("Ie1", "Ie2"), ("I", "Ie1d1")]
        pairs += [("Ie2", "Ie1e2d1"), ("Ie1e2", "I(e1+e2)")]
        compared = {f"id_raw {a}~{b}": (a, b) for a, b in pairs}
        figures = compare_previews(
            self.generator, self.identity, self.landmarks, named, compared
        )
        return {"people": float(count), **figures}
