"""What each choice inside the paper's mapper is worth: one changed at a time.

The published code fixes some things that the paper does not mention: the axis of a
norm, an activation at the end, a factor. Every variant here learns the same task in
as many steps, the distillation stage of ``training.mapper``: its teacher shifts codes
linearly in the password. So the right answer is known and has all of the properties,
and the errors that remain in (c), (f), (g) and (h) are those of the network's form.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facersa.cipher.base import Cipher, LearnedCipher
from facersa.cipher.catalogue import build_learned, fingerprint
from facersa.evaluation.properties import property_codes
from facersa.evaluation.results import Key, head, rows
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.generator.statistics import WStatistics, whitening
from facersa.judges.calibration import JUDGES
from facersa.judges.panel import Panel
from facersa.people import people, training_seeds, varied_codes
from facersa.training.distillation import distillation_loss
from facersa.training.loop import TrainConfig, train

PSI = 0.85
CODES = 256  # people measured in code space; pictures are more expensive
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "ours": {},
    "norm over rows": {"norm": "rows"},
    "no norm": {"norm": "none"},
    "last activation": {"last_activation": True},
    "1 + gamma": {"one_plus": True},
    "not odd in p": {"odd": False},
    "one module": {"modules": 1},
    "five modules": {"modules": 5},
    "strength 0.01": {"strength": 0.01},
    "strength 1": {"strength": 1.0},
    "as published": {"norm": "rows", "last_activation": True, "odd": False},
}
# Codes that should agree.
CODE_PAIRS = {
    "recover (c)": ("I", "Ie1d1"),
    "zero (c)": ("I", "I0"),
    "two pairs (f)": ("I", "Ie1e2d2d1"),
    "order (g)": ("Ie2", "Ie1e2d1"),
    "sum (h)": ("Ie1e2", "I(e1+e2)"),
}
PICTURE_PAIRS = {
    "hidden (b)": ("I", "Ie1"),
    "recover (c)": ("I", "Ie1d1"),
    "flipped (e)": ("Ie1", "Ie1^"),
    "order (g)": ("Ie2", "Ie1e2d1"),
    "sum (h)": ("Ie1e2", "I(e1+e2)"),
}


class Copying:
    """A ``training.loop.Task``: distil a teacher into a network of the paper's form."""

    name = "ablation"

    def __init__(
        self, mapper: LearnedCipher, generator: Generator, teacher: LearnedCipher
    ) -> None:
        self.module: nn.Module = mapper
        self.product: nn.Module = mapper
        self.settings: Mapping[str, Any] = {}
        self.mapper, self.generator, self.teacher = mapper, generator, teacher
        _, self.axes = whitening(WStatistics.load(), generator.w_avg.device)

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Draw the people."""
        self.config = config
        first = training_seeds(config.seed, config.pool).start
        self.people = varied_codes(self.generator, config.pool, first)

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Of a batch."""
        picked = torch.randint(len(self.people), (self.config.batch,), generator=rng)
        ws = self.people[picked.to(self.people.device)]
        return distillation_loss(self.mapper, self.teacher, ws, self.axes, rng), {}

    def measure(self) -> dict[str, float]:
        """Nothing: ``measure_variant`` does."""
        return {}


def relative_errors(mapper: Cipher, codes: Tensor, seed: int) -> dict[str, list[float]]:
    """Errors of each of ``codes`` (n, num_ws, 512), by name of ``CODE_PAIRS``.

    The distance of the pair's two codes over that from I to Ie1: 0 is exact, 1 is as
    far as the encryption itself goes.
    """
    errors: dict[str, list[float]] = defaultdict(list)
    for index, ws in enumerate(codes.split(1)):
        named = property_codes(mapper, ws, seed + index, ws)
        length = (named["Ie1"] - named["I"]).norm()
        for name, (first, second) in CODE_PAIRS.items():
            gap = (named[first] - named[second]).norm()
            errors[name].append(float(gap / length))
    return errors


def picture_figures(
    mapper: Cipher,
    codes: Tensor,
    seed: int,
    panel: Panel,
    renderer: Renderer,
) -> dict[tuple[str, str, str], list[float]]:
    """By name, metric and judge: id of ``PICTURE_PAIRS``, and landmarks of (I, Ie1)."""
    values: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    painted = sorted({key for pair in PICTURE_PAIRS.values() for key in pair})
    for index, ws in enumerate(codes.split(1)):
        named = property_codes(mapper, ws, seed + index, ws)
        reports = {key: panel.report(renderer.full(named[key])) for key in painted}
        for name, (first, second) in PICTURE_PAIRS.items():
            pair = reports[first], reports[second]
            figures = panel.identity_figures(*pair, "W", PSI)
            for judge in JUDGES:
                values[name, "id", judge].append(figures["id", judge])
        figures = panel.attribute_figures(reports["I"], reports["Ie1"])
        distance = figures["landmarks", "heldout"]
        values["landmarks", "landmarks", "heldout"].append(distance)
    return values


def ablate(
    generator: Generator,
    teacher: LearnedCipher,
    *,
    steps: int = 1500,
    n: int = 16,
    seed: int = 0,
    variants: Mapping[str, Mapping[str, Any]] = VARIANTS,
    panel: Panel | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train every variant for ``steps`` and measure it on people it was not trained on.

    Args:
        generator: paints the pictures.
        teacher: is distilled.
        steps: of each variant, 32 people a step.
        n: people whose pictures are judged; codes are compared for 256.
        seed: of weights, training and people.
        variants: names, and what differs from ``MapperConfig()``.
        panel: judges that are loaded already.
        progress: show bars.

    Returns:
        A result, see ``results``: "pair" is the variant, "property" one of
        ``CODE_PAIRS`` or ``PICTURE_PAIRS``, or "landmarks".
    """
    config = TrainConfig(steps=steps, batch=32, lr=1e-3, pool=3000, seed=seed)
    codes = people(generator, "W", PSI, max(n, CODES))
    panel, renderer = panel or Panel(), Renderer(generator)
    values: dict[Key, list[float]] = {}
    for name, options in variants.items():
        torch.manual_seed(seed)  # every variant starts from the same draw
        mapper = build_learned("faithful", options).to(generator.w_avg.device)
        with tempfile.TemporaryDirectory() as folder:
            task = Copying(mapper, generator, teacher)
            train(task, config, Path(folder), progress=progress)
        with torch.no_grad():
            errors = relative_errors(mapper, codes[:CODES], seed)
            figures = picture_figures(mapper, codes[:n], seed, panel, renderer)
        values |= {(what, name, "error", None): x for what, x in errors.items()}
        values |= {(what, name, m, judge): x for (what, m, judge), x in figures.items()}
    return head(
        "ablation",
        teacher=fingerprint(teacher),
        variants={name: dict(options) for name, options in variants.items()},
        settings={"steps": steps, "n": n, "codes": CODES, "psi": PSI},
        seed=seed,
    ) | {"rows": rows(values)}
