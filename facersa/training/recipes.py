"""How mappers, the encoder and the preview head are trained: recipes and presets.

The preset "smoke" is a test of a minute, "cpu" fits a processor, "gpu" a graphics card.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

from facersa.errors import CheckpointError, FaceRSAError
from facersa.training.chains import Group
from facersa.training.loop import TrainConfig
from facersa.training.losses import LossWeights

T = TypeVar("T")
Preset = Literal["smoke", "cpu", "gpu"]
Learned = Literal[
    "ring", "steered", "faithful", "assembled"
]  # ciphers with weights to train


@dataclass(frozen=True)
class Recipe:
    """What a mapper learns from, and when.

    Attributes:
        mapper: name of the cipher that is trained.
        options: its settings, where they differ from the defaults.
        weights: of the losses.
        teacher: name of the exact cipher for distillation.
        assembled: write down the first weights, of the ring that is the teacher.
        start: the learned cipher whose trained weights come first, if any.
        distillation_steps: first steps, in code space, against the teacher; in their
            second half on codes that the mapper itself encrypted, unless it was
            assembled. The remaining steps paint.
        distillation_batch: people a step of distillation.
        summed: passwords of the longest sum in distillation.
        r1: gradient penalty of the critic.
        critic_people: people whose pictures set the scale of the critic's input.
        gradient_people: people at whose codes the first directions of a ring are
            computed.
        pairs: largest number m of password pairs in a chain, 2 to 4.
        every_group: all groups of losses, and the most pairs, at each painted step (a
            GPU), or one group drawn at random, mostly the first (a CPU).
        ramp: share of the steps over which recovery grows from 1 % of its weight;
            0 gives it the full weight at once.
    """

    mapper: Learned = "steered"
    options: Mapping[str, Any] = field(default_factory=dict)
    weights: LossWeights = field(default_factory=LossWeights)
    teacher: Learned = "steered"
    assembled: bool = False
    start: Learned | None = None
    distillation_steps: int = 0
    distillation_batch: int = 32
    summed: int = 4
    r1: float = 0.0
    critic_people: int = 64
    gradient_people: int = 320
    pairs: int = 3
    every_group: bool = False
    ramp: float = 0.6


@dataclass(frozen=True)
class ScratchRecipe:
    """How the paper's mapper learns from random weights.

    Attributes:
        options: of ``MapperConfig``, where they differ from the defaults.
        weights: of the losses.
        groups: of losses, of "single", "sequential" and "associated".
        pairs: number m of password pairs in a chain, 2 to 4.
        ramp: share of the steps over which recovery grows from 1 % of its weight;
            0 gives it the full weight at once.
        password_gain: factor on the converter's first weights.
        first_size: factor on the last module's first gamma and beta; 0 leaves them.
        one_bit: share of the wrong and second passwords that differ in one bit.
        curves_every: steps between two points of the curves.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    weights: LossWeights = field(default_factory=LossWeights)
    groups: tuple[Group, ...] = ("single", "sequential", "associated")
    pairs: int = 2
    ramp: float = 0.6
    password_gain: float = 1.0
    first_size: float = 0.0
    one_bit: float = 0.5
    curves_every: int = 25


# Weights of the losses, with which ``evaluation.baselines`` learn as well. Beyond the
# paper's list: recovery of codes, which makes sums add up, a password reader, a hinge.
TAUGHT = LossWeights(
    different=30.0,
    recover_id=10.0,
    recover_pixels=3.0,
    recover_code=50.0,
    landmarks=28_000.0,
    reader=0.2,
    hinge=12.0,
)
# Those of the faithful mapper. Its wrong passwords are one bit away, and pairs that are
# most alike count most, so that every bit matters. A small change is asked for: without
# that, losses are served by large ones that leave the people there are.
FAITHFUL = replace(
    TAUGHT,
    different=50.0,
    power=2.0,
    recover_id=30.0,
    recover_code=150.0,
    code=10.0,
    radius=20.0,
    margin=0.22,
)
# The faithful mapper from random weights, by the judge of codes.
SCRATCH: Mapping[Preset, tuple[TrainConfig, ScratchRecipe]] = {
    "smoke": (
        TrainConfig(steps=6, batch=2, lr=1e-3, pool=64, save_every=3),
        ScratchRecipe(weights=FAITHFUL, one_bit=1.0, curves_every=3),
    ),
    "cpu": (
        TrainConfig(steps=1000, batch=16, lr=3e-3, pool=8000, save_every=250),
        ScratchRecipe(weights=FAITHFUL, ramp=0.0, first_size=3.0, one_bit=1.0),
    ),
}
JUDGE: Mapping[Preset, TrainConfig] = {
    "smoke": TrainConfig(steps=4, batch=2, pool=64, save_every=2),
    "cpu": TrainConfig(steps=1500, batch=32, lr=1e-3, pool=832, save_every=100),
    "gpu": TrainConfig(steps=20_000, batch=64, lr=1e-3, pool=16_384, save_every=1000),
}


# Configuration and recipe on a CPU. The assembled mapper starts as a ring, written
# down, and distillation corrects the rest, in small steps; so it is not odd in the
# password. The faithful one learns from a judge of codes (``SCRATCH``), then paints.
MAPPERS: Mapping[Learned, tuple[TrainConfig, Recipe]] = {
    "steered": (
        TrainConfig(steps=600, batch=1, lr=1e-3, pool=3000, save_every=50),
        # It writes along few of the axes over which these two losses are means.
        Recipe("steered", weights=LossWeights(radius=100.0, outliers=120.0)),
    ),
    "ring": (
        TrainConfig(steps=1500, batch=1, lr=5e-4, pool=3000, save_every=50),
        Recipe(
            "ring",
            weights=LossWeights(different=18.0, natural=1.0, landmarks=6000.0),
            r1=0.1,
        ),
    ),
    "faithful": (
        TrainConfig(steps=500, batch=1, lr=1e-4, pool=3000, save_every=50),
        Recipe("faithful", weights=FAITHFUL, start="faithful", ramp=0.0),
    ),
    "assembled": (
        TrainConfig(steps=1500, batch=1, lr=3e-6, pool=12_000, save_every=50),
        Recipe(
            "assembled",
            options={"norm": "none", "odd": False},
            weights=LossWeights(
                different=9.0, recover_id=2.0, recover_code=0.5, reader=0.1, hinge=1.0
            ),
            teacher="ring",
            assembled=True,
            distillation_steps=1500,
            distillation_batch=256,
            summed=12,
            ramp=0.0,
        ),
    ),
}


def mapper_preset(preset: str, mapper: str) -> tuple[TrainConfig, Recipe]:
    """Configuration and recipe of a mapper.

    Raises:
        FaceRSAError: an unknown preset or mapper.
    """
    config, recipe = named("mapper", mapper, MAPPERS)
    long = recipe.distillation_steps
    small = TrainConfig(steps=6, batch=1, lr=1e-3, pool=4, save_every=3)
    large = replace(config, steps=6000 + long, batch=8, pool=8000, save_every=500)
    smoke = replace(
        recipe,
        distillation_steps=min(long, 1),
        distillation_batch=2,
        critic_people=2,
        gradient_people=4,
    )
    full = replace(recipe, every_group=True)
    if mapper == "steered":
        weights = replace(recipe.weights, different=5.0)
        full = replace(full, weights=weights, options={"axes": 64})
    table = {"smoke": (small, smoke), "cpu": (config, recipe), "gpu": (large, full)}
    return named("preset", preset, table)


def scratch_preset(preset: str) -> tuple[TrainConfig, ScratchRecipe]:
    """Configuration and recipe of the paper's mapper, from random weights.

    Raises:
        FaceRSAError: an unknown preset, or "gpu", which paints (``mapper_preset``).
    """
    return named("preset", preset, SCRATCH)


@dataclass(frozen=True)
class EncoderRecipe:
    """What the encoder learns from, and the weight of each loss.

    Attributes:
        scenes: share of each step's pictures with another shape, light and background
            (``SCENES``), whose codes nobody knows.
        unlocked_at: share of all steps after which the last row is unlocked.
        code: mean square error of w, in units of its mean variance.
        visible: mean square error weighted by how much it shows.
        offset: mean square of the offsets, whitened.
        realism: of the discriminator's logits, as e4e weighs them.
        r1: gradient penalty of the discriminator.
        pixel, lpips, identity: of the painted picture, as e4e and E2Style weigh them.
    """

    scenes: float = 0.5
    unlocked_at: float = 0.4
    code: float = 0.5
    visible: float = 0.5
    offset: float = 2e-3
    realism: float = 0.02
    r1: float = 1.0
    pixel: float = 1.0
    lpips: float = 0.8
    identity: float = 0.5


ENCODER: Mapping[Preset, TrainConfig] = {
    "smoke": TrainConfig(steps=6, batch=2, lr=1e-3, pool=4, save_every=3),
    "cpu": TrainConfig(steps=500, batch=4, lr=5e-4, pool=12_000, save_every=25),
    "gpu": TrainConfig(steps=10_000, batch=32, lr=1e-3, pool=20_000, save_every=1000),
}


def encoder_preset(preset: str) -> tuple[TrainConfig, EncoderRecipe]:
    """Configuration and recipe of the encoder.

    Raises:
        FaceRSAError: an unknown preset.
    """
    return named("preset", preset, ENCODER), EncoderRecipe()


HEAD: Mapping[Preset, TrainConfig] = {
    "smoke": TrainConfig(steps=6, batch=2, pool=4, save_every=3),
    "cpu": TrainConfig(),
    "gpu": TrainConfig(steps=20_000, batch=16, pool=20_000, save_every=1000),
}


def named(what: str, name: str, table: Mapping[Any, T]) -> T:
    """The entry ``name`` of a table; ``what`` it is, for the error.

    Raises:
        FaceRSAError: there is none.
    """
    if name not in table:
        raise FaceRSAError(
            f"the {what} is one of {', '.join(table)}; got {name!r}; choose one of "
            "these."
        )
    return table[name]


def recipe_of(settings: Mapping[str, Any], kind: type[T]) -> T:
    """The recipe that a run's settings hold, as JSON gave it back.

    Raises:
        CheckpointError: another version wrote them.
    """
    try:
        stored = dict(settings["recipe"])
        if "weights" in stored:
            stored["weights"] = LossWeights(**stored["weights"])
        if "groups" in stored:
            stored["groups"] = tuple(stored["groups"])
        return kind(**stored)
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"this run is of another network, or was written by another version "
            f"({error}); resume it as what it is, or start a new run."
        ) from error
