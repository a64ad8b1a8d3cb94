"""How mappers and the encoder are trained: what a run is made of, and presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from facersa.errors import CheckpointError
from facersa.generator.openvino import PREVIEW
from facersa.training.loop import TrainConfig
from facersa.training.losses import LossWeights

T = TypeVar("T")


@dataclass(frozen=True)
class Recipe:
    """What is trained, and its schedule.

    Attributes:
        mapper: "faithful", "steered" or "ring".
        options: of the mapper, where they differ from its defaults.
        weights: of the losses.
        teacher: the exact mapper that is copied.
        assembled: begin a faithful mapper as the ring that is its teacher.
        imitation_steps: steps of copying, in code space, first of all; in the second
            half from codes that the mapper has encrypted itself, unless it was
            assembled.
        summed: passwords of the longest sum in these steps.
        latent_steps: steps against the surrogate, next; painting takes the rest.
        latent_batch: people a step of these two stages.
        r1: gradient penalty of the critic.
        seen: people whose pictures set the scale of what the critic reads.
        slopes: people at whose codes the first directions of a ring are found.
        part: people whose codes, as they are and edited, are judged together.
        parts: pool of judged codes for the surrogate, in such parts.
        fit_steps: of the surrogate at the start; a quarter of that at a refit.
        refit_every: latent steps from one refit to the next.
        pairs: largest number m of password pairs in a chain, 2 to 4.
        every_group: all groups of losses, and the most pairs, at each painted step (a
            GPU), or one group drawn at random, the first half of the time (a CPU).
        ramp: share of the steps over which recovery grows from 1 % of its weight;
            0 gives it the full weight at once.
    """

    mapper: str = "steered"
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: LossWeights = field(default_factory=LossWeights)
    teacher: str = "steered"
    assembled: bool = False
    imitation_steps: int = 0
    summed: int = 4
    latent_steps: int = 0
    latent_batch: int = 32
    r1: float = 0.0
    seen: int = 64
    slopes: int = 320
    part: int = 50
    parts: int = 20
    fit_steps: int = 300
    refit_every: int = 250
    pairs: int = 3
    every_group: bool = False
    ramp: float = 0.6


@dataclass(frozen=True)
class EncoderRecipe:
    """What is learned from, and how much each term weighs.

    Attributes:
        pictures: "full" or "preview": what the pool is painted by, where it is kept.
        kept: paint and spoil each picture once and keep its features (a CPU), or
            paint previews and spoil them anew at each step (a GPU).
        scenes: share of each step's pictures with another shape, light and background
            (``SCENES``), whose codes nobody knows; only where nothing is kept.
        latent_steps: steps without painting; the rest paints as well.
        unlocked_at: share of all steps after which the last row is unlocked.
        code: mean square error of w, in units of its mean variance.
        visible: mean square error weighted by how much it shows.
        offset: mean square of the offsets, whitened.
        realism: of the discriminator's word, as e4e weighs it.
        r1: gradient penalty of the discriminator.
        pixel, lpips, identity: of the painted picture, as e4e and E2Style weigh them.
    """

    pictures: str = PREVIEW
    kept: bool = True
    scenes: float = 0.0
    latent_steps: int = 0
    unlocked_at: float = 0.4
    code: float = 1.0
    visible: float = 1.0
    offset: float = 2e-3
    realism: float = 0.02
    r1: float = 1.0
    pixel: float = 1.0
    lpips: float = 0.8
    identity: float = 0.5


def mapper_preset(preset: str, mapper: str) -> tuple[TrainConfig, Recipe]:
    """Configuration and recipe: "smoke" (a test), "cpu" or "gpu".

    The faithful mapper must undo itself, and the password must matter, so it begins
    as a ring, assembled, and corrects by imitation what is left, in small steps; so it
    is not odd in the password. What follows weighs recovery and the reader more.
    """
    weights = LossWeights()
    recipe = Recipe(mapper=mapper, weights=weights)
    lr = {"steered": 1e-3, "ring": 5e-4, "faithful": 3e-6}[mapper]
    if mapper == "faithful":
        weights = replace(
            weights,
            different=9.0,
            recover_id=2.0,
            recover_code=0.5,
            reader=0.1,
            hinge=1.0,
        )
        recipe = replace(
            recipe,
            options={"norm": "none", "odd": False},
            weights=weights,
            teacher="ring",
            assembled=True,
            imitation_steps=1500,
            summed=12,
            latent_batch=256,
            ramp=0.0,
        )
    if mapper == "ring":
        weights = replace(weights, different=18.0, natural=1.0, landmarks=6000.0)
        recipe = replace(recipe, weights=weights, r1=0.1)
    if mapper == "steered":
        # It writes along few of the axes over which these two are means.
        weights = replace(weights, radius=100.0, outliers=120.0)
        recipe = replace(recipe, weights=weights)
    if preset == "smoke":
        config = TrainConfig(steps=6, batch=1, lr=1e-3, pool=4, save_every=3)
        return config, replace(
            recipe,
            seen=2,
            slopes=4,
            imitation_steps=min(recipe.imitation_steps, 1),
            latent_steps=4,
            latent_batch=2,
            part=2,
            parts=1,
            fit_steps=8,
            refit_every=2,
        )
    if preset == "gpu":
        most = 6000 + recipe.imitation_steps
        config = TrainConfig(steps=most, batch=8, lr=lr, pool=8000, save_every=500)
        if mapper == "steered":
            weights, options = replace(weights, different=5.0), {"axes": 64}
            recipe = replace(recipe, weights=weights, options=options)
        return config, replace(recipe, every_group=True)
    steps = {"steered": 600, "ring": 1500, "faithful": recipe.imitation_steps}
    pool = 12_000 if mapper == "faithful" else 3000  # it paints nobody
    config = TrainConfig(steps=steps[mapper], batch=1, lr=lr, pool=pool, save_every=50)
    return config, recipe


def recipe_of(settings: Mapping[str, Any]) -> Recipe:
    """The recipe that a run's settings hold.

    Raises:
        CheckpointError: another version made them.
    """
    stored = dict(settings["recipe"])
    weights = _rebuilt(LossWeights, stored["weights"])
    return _rebuilt(Recipe, {**stored, "weights": weights})


def encoder_preset(preset: str) -> tuple[TrainConfig, EncoderRecipe]:
    """Configuration and recipe: "smoke" (a test), "cpu" or "gpu"."""
    if preset == "smoke":
        config = TrainConfig(steps=6, batch=2, lr=1e-3, pool=4, save_every=3)
        return config, EncoderRecipe(latent_steps=4)
    if preset == "gpu":
        config = TrainConfig(
            steps=10_000, batch=32, lr=1e-3, pool=20_000, save_every=1000
        )
        return config, EncoderRecipe(kept=False, scenes=0.5, code=0.5, visible=0.5)
    config = TrainConfig(steps=500, batch=4, lr=5e-4, pool=12_000, save_every=25)
    return config, EncoderRecipe()


def encoder_recipe_of(settings: Mapping[str, Any]) -> EncoderRecipe:
    """The recipe that a run's settings hold.

    Raises:
        CheckpointError: another version made them.
    """
    return _rebuilt(EncoderRecipe, settings["recipe"])


def _rebuilt(kind: type[T], stored: Mapping[str, Any]) -> T:
    try:
        return kind(**stored)
    except TypeError as error:
        raise CheckpointError(
            f"this run was made by another version ({error}); start a new run."
        ) from error
