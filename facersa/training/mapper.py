"""Training a mapper: faces, passwords, pictures and the three groups of losses.

Up to three stages. In the *imitation* stage a mapper copies a trained one that is
exact, in code space: a start where d already undoes e and passwords already matter
(``assembly`` can begin it as one, so that little is left to copy). In the *latent*
stage the surrogate network guesses what the judges would say, many codes a step; it is
fitted again on the mapper's own outputs as training goes on. In the *painted* stage the
generator paints every code and the training judges look at the pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from facersa.cipher.catalogue import ExactMapper, Mapper, RingMapper, build_mapper
from facersa.cipher.modulation import ModulationMapper
from facersa.generator.base import Generator
from facersa.generator.parts import GeneratorParser
from facersa.generator.statistics import WStatistics, whitening
from facersa.judges.bisenet import BiSeNet
from facersa.judges.networks import IdentityJudge, Landmarks
from facersa.people import surrogate_seeds, training_seeds, varied_codes
from facersa.training.assembly import become_ring
from facersa.training.chains import GROUPS, fresh_codes, named_codes
from facersa.training.critic import Critic
from facersa.training.directions import identity_directions, slopes
from facersa.training.imitation import imitation_loss
from facersa.training.loop import TrainConfig
from facersa.training.losses import (
    Distance,
    Figures,
    LossWeights,
    PasswordReader,
    View,
    associated_loss,
    password_reading,
    sequential_loss,
    single_loss,
)
from facersa.training.painter import Painter
from facersa.training.recipes import Recipe
from facersa.training.surrogate import CodeJudge, Judged, Surrogate, edited_codes, fit


def pool_codes(
    generator: Generator, part: int, people: int, layers: Sequence[int]
) -> Tensor:
    """The codes (2 people, 16, 512) of one part of the surrogate's pool."""
    bases = varied_codes(generator, people, surrogate_seeds(part, people).start)
    rng = torch.Generator().manual_seed(part)
    return torch.cat([bases, edited_codes(generator, bases, tuple(layers), rng)])


class MapperTask:
    """Train one mapper by a recipe.

    Args:
        generator: frozen.
        identity: training judge.
        landmarks: training judge.
        parser: of the generator's features, or a BiSeNet of the picture.
        lpips: perceptual distance of two pictures.
        recipe: what to train and how.
        teacher: a trained mapper that is exact, for the imitation stage.

    Raises:
        ValueError: the recipe needs a teacher, and there is none of its kind; or a
            critic, and the mapper is not exact.
    """

    def __init__(
        self,
        generator: Generator,
        identity: IdentityJudge,
        landmarks: Landmarks,
        parser: GeneratorParser | BiSeNet,
        lpips: Distance,
        recipe: Recipe,
        teacher: ExactMapper | None = None,
    ) -> None:
        if recipe.imitation_steps and teacher is None:
            raise ValueError("this recipe imitates a trained mapper; pass a teacher.")
        if recipe.assembled and not isinstance(teacher, RingMapper):
            raise ValueError("this recipe begins as a ring; pass a ring as teacher.")
        self.teacher = teacher
        self.generator, self.lpips, self.recipe = generator, lpips, recipe
        self.identity, self.landmarks = identity, landmarks
        self.device = generator.w_avg.device
        self.name = f"mapper_{recipe.mapper}"
        torch.manual_seed(0)  # initial weights
        self.mapper: Mapper = build_mapper(recipe.mapper, recipe.options)
        # d undoes e by construction: no picture of the way back is needed.
        self.exact = isinstance(self.mapper, ExactMapper)
        if recipe.weights.natural and not self.exact:
            raise ValueError("a critic would take ways back for encrypted people.")
        bits = self.mapper.num_bits
        stats = WStatistics.load()
        self.surrogate = Surrogate(stats).requires_grad_(False)
        self.mean, self.axes = whitening(stats, self.device)
        self.reader, self.critic = PasswordReader(bits), Critic()
        networks: dict[str, nn.Module] = {"mapper": self.mapper, "reader": self.reader}
        if recipe.latent_steps:
            networks["surrogate"] = self.surrogate
        if recipe.weights.natural:
            networks["critic"] = self.critic
        self.module = nn.ModuleDict(networks).to(self.device)
        self.painter = Painter(generator, identity, landmarks, parser)
        self.judge = CodeJudge(generator, identity, landmarks)

    @property
    def product(self) -> nn.Module:
        """What ships: the mapper alone."""
        return self.mapper

    @property
    def settings(self) -> dict[str, Any]:
        """The recipe and the mapper's own options, for checkpoint and card."""
        return {"recipe": asdict(self.recipe), "mapper": asdict(self.mapper.config)}

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Draw the people; begin as a ring; judge and fit the surrogate."""
        self.config, self.folder = config, folder / "pool"
        first = training_seeds(config.seed, config.pool).start
        self.codes = varied_codes(self.generator, config.pool, first)
        new = not (folder / "state").exists()
        rng = torch.Generator().manual_seed(config.seed)
        if new and isinstance(self.mapper, RingMapper):
            codes = self.codes[: self.recipe.slopes]
            judges = self.identity, self.landmarks
            found = slopes(self.mapper, self.generator, *judges, codes)
            number = len(self.mapper.directions)
            self.mapper.start_along(identity_directions(found, number), rng)
        if new and self.recipe.assembled:
            assert isinstance(self.mapper, ModulationMapper)
            assert isinstance(self.teacher, RingMapper)
            become_ring(self.mapper, self.teacher, self.codes, rng)
        if new and self.recipe.weights.natural:
            self._show_the_critic(rng)
        self.pool: list[Judged] = []
        if not self.recipe.latent_steps:
            return
        self.folder.mkdir(exist_ok=True)
        for part in tqdm(range(self.recipe.parts), desc="judge", unit="part"):
            people, layers = self.recipe.part, self.mapper.layers
            codes = pool_codes(self.generator, part, people, layers)
            path = self.folder / f"{part:04d}.safetensors"
            self.pool.append(self.judge.kept(codes, path))
        if new:
            fit(self.surrogate, Judged.join(self.pool), self.recipe.fit_steps, rng)

    @torch.no_grad()
    def _show_the_critic(self, rng: torch.Generator) -> None:
        """Some people, plain and encrypted: the scale of what it reads."""
        codes = self.codes[: self.recipe.seen]
        (e,) = self._passwords(1, len(codes), rng)
        both = torch.cat([codes, self.mapper(codes, e)])
        parts = tqdm(both.split(4), desc="critic", unit="part")
        pictures = (self.generator.preview(part) for part in parts)
        textures = [self.painter.look(picture)[1] for picture in pictures]
        self.critic.standardise(torch.cat(textures))

    def _refit(self, step: int, rng: torch.Generator) -> None:
        """Fit the surrogate again, also on what the mapper makes now."""
        every, parts = self.recipe.refit_every, self.recipe.parts
        paths = [
            self.folder / f"own-{k:06d}.safetensors"
            for k in range(every, step + 1, every)
        ]
        for path in paths[len(self.pool) - parts : -1]:  # after a resume
            self.pool.append(Judged.load(path, self.device))
        with torch.no_grad():
            ws = self._people(self.recipe.part, rng)
            first, second, third = self._passwords(3, len(ws), rng)
            once = self.mapper(ws, first)
            own = torch.cat([once, self.mapper(self.mapper(once, second), third)])
        self.pool.append(self.judge.kept(own, paths[-1]))
        recent = sum(len(part.ws) for part in self.pool[parts:][-3:])
        steps = self.recipe.fit_steps // 4
        fit(self.surrogate, Judged.join(self.pool), steps, rng, recent=recent)

    def _people(self, count: int, rng: torch.Generator) -> Tensor:
        picked = torch.randint(len(self.codes), (count,), generator=rng)
        return self.codes[picked.to(self.device)]

    def _passwords(self, number: int, count: int, rng: torch.Generator) -> Tensor:
        """Fresh codes (number, count, N)."""
        return fresh_codes(number, count, self.mapper.num_bits, rng).to(self.device)

    def weights_at(self, step: int) -> LossWeights:
        """Recovery grows slowly: at full weight from the start nothing would move."""
        weights, ramp_steps = self.recipe.weights, self.recipe.ramp * self.config.steps
        ramp = 0.01 ** max(0.0, 1 - step / ramp_steps) if ramp_steps else 1.0
        return replace(
            weights,
            recover_id=weights.recover_id * ramp,
            recover_pixels=weights.recover_pixels * ramp,
            recover_code=weights.recover_code * ramp,
        )

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The paper's total loss and our terms, of random people and passwords.

        A critic's own loss is added: its gradient does not reach the mapper.
        """
        step_before = step - self.recipe.imitation_steps
        if step_before < 0:
            assert self.teacher is not None
            ws = self._people(self.recipe.latent_batch, rng)
            # One that was assembled has no errors that would add up to a lesson.
            own = not self.recipe.assembled and 2 * step >= self.recipe.imitation_steps
            copied = imitation_loss(
                self.mapper,
                self.teacher,
                ws,
                self.axes,
                rng,
                own=own,
                most=self.recipe.summed,
            )
            return copied, {"imitation": copied.item()}
        latent = step_before < self.recipe.latent_steps
        if latent and step_before and step_before % self.recipe.refit_every == 0:
            self._refit(step_before, rng)
        # Of a mapper that is exact, sums are right by construction.
        groups = set(GROUPS[:2] if self.exact else GROUPS)
        if not (latent or self.recipe.every_group):
            shares = [0.7, 0.3, 0.0] if self.exact else [0.5, 0.25, 0.25]
            drawn = torch.multinomial(torch.tensor(shares), 1, generator=rng)
            groups = {GROUPS[int(drawn)]}
        count = self.recipe.latent_batch if latent else self.config.batch
        weights = self.weights_at(step)
        ws = self._people(count, rng)
        pairs = self.recipe.pairs
        if not self.recipe.every_group:  # else all steps have pictures of one number
            pairs = int(torch.randint(2, pairs + 1, (), generator=rng))
        codes, fresh = named_codes(self.mapper, ws, groups, pairs, rng)
        views = self._look(codes, latent)
        terms: list[Figures] = []
        if "single" in groups:
            terms.append(single_loss(views, weights, self.lpips))
        if "sequential" in groups:
            chain = [view for name, view in views.items() if name.startswith("I^")]
            terms.append(sequential_loss(chain, weights, self.lpips))
        if "associated" in groups:
            chained, direct = views["chained"], views["direct"]
            terms.append(associated_loss(chained, direct, weights))
        if weights.reader:
            row = self.mapper.layers[0]
            logits = self.reader(codes["Ie1"][:, row])
            terms.append({"reader": weights.reader * password_reading(logits, fresh)})
        if weights.natural and not latent:
            # The mapper is exact: whatever is not the person is encrypted.
            seen = {id(view): view.texture for view in views.values()}
            plain = seen.pop(id(views["I"]))
            made = torch.cat([x for x in seen.values() if x is not None])
            assert plain is not None
            terms.append({"critic": self.critic.loss(plain, made, self.recipe.r1)})
        loss = torch.stack([v for term in terms for v in term.values()]).sum()
        figures: dict[str, float] = {}
        for term in terms:
            for name, value in term.items():
                figures[name] = figures.get(name, 0.0) + value.item()
        cosine = (views["I"].identity * views["Ie1"].identity).sum(1).mean()
        return loss, {**figures, "id_raw": cosine.item()}

    def _look(self, codes: dict[str, Tensor], latent: bool) -> dict[str, View]:
        """A view of every code; one that occurs twice is looked at once."""
        distinct = {id(ws): ws for ws in codes.values()}
        found: dict[int, View] = {}
        for learns in (False, True):  # the original needs no gradient
            keys = [key for key, ws in distinct.items() if ws.requires_grad == learns]
            if not keys:
                continue
            with torch.set_grad_enabled(learns):
                together = torch.cat([distinct[key] for key in keys])
                code = (together[:, list(self.mapper.layers)] - self.mean) @ self.axes
                if latent:
                    view = View(code, *self.surrogate(together))
                else:
                    view = self.painter(together, code)
                    if self.recipe.weights.natural and view.texture is not None:
                        said = self.critic(view.texture, learns=False)
                        view = view._replace(natural=said)
            size = len(together) // len(keys)
            for index, key in enumerate(keys):
                found[key] = view.part(index * size, (index + 1) * size)
        return {name: found[id(ws)] for name, ws in codes.items()}

    @torch.no_grad()
    def measure(self) -> dict[str, float]:
        """Previews of people never trained on, by the training judges."""
        count = min(24, len(self.codes))
        ws = varied_codes(self.generator, count, seed=0)
        rng = torch.Generator().manual_seed(0)
        e, other = self._passwords(2, count, rng)
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
        judged = {name: self.judge.judge(codes) for name, codes in named.items()}
        pairs = [("I", "Ie1"), ("Ie1", "Ie1^"), ("Ie1", "Ie2"), ("I", "Ie1d1")]
        pairs += [("Ie2", "Ie1e2d1"), ("Ie1e2", "I(e1+e2)")]
        figures = {
            f"id_raw {a}~{b}": float(
                (judged[a].identity * judged[b].identity).sum(1).mean()
            )
            for a, b in pairs
        }
        moved = (judged["I"].landmarks - judged["Ie1"].landmarks).norm(dim=-1).mean()
        return {"people": float(count), **figures, "landmarks": float(moved)}
