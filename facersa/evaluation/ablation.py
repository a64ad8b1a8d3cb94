"""What the choices inside the paper's mapper are worth: each one changed alone.

The published network fixes some things that the paper does not speak of: the axis
of a norm, an activation at the end, a factor. Every variant here learns the same
task on the same budget, the distillation of ``training.mapper``: it copies a shift
that is linear in the password, so that the right answer is known, has all of the
properties, and any network of this form can come as near to it as its form allows.
What is left of (c), (f), (g) and (h) is then the work of the form.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from facersa.cipher.base import Cipher
from facersa.cipher.catalogue import ExactMapper, Mapper, build_mapper, fingerprint
from facersa.evaluation.properties import property_codes
from facersa.evaluation.results import bootstrap, or_none
from facersa.generator.mobile_stylegan import Generator
from facersa.generator.openvino import Renderer
from facersa.generator.statistics import WStatistics, whitening
from facersa.judges.panel import Panel
from facersa.people import FIRST_SEED, TRAIN_SEED, varied_codes
from facersa.training.distillation import distillation_loss
from facersa.training.loop import TrainConfig, train

PSI = 0.85

CODES = 256  # people measured in code space; pictures cost more

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

# Codes that should agree; the distance is given in lengths of I to Ie1.
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
    """A ``training.Task``: one network of the paper's form learns to copy."""

    name = "ablation"

    def __init__(
        self, mapper: Mapper, generator: Generator, teacher: ExactMapper
    ) -> None:
        self.module: nn.Module = mapper
        self.product: nn.Module = mapper
        self.settings: Mapping[str, Any] = {}
        self.mapper, self.generator, self.teacher = mapper, generator, teacher
        _, self.axes = whitening(WStatistics.load(), generator.w_avg.device)

    def prepare(self, config: TrainConfig, folder: Path) -> None:
        """Draw the people."""
        self.config = config
        first = TRAIN_SEED + config.seed * config.pool
        self.people = varied_codes(self.generator, config.pool, first)

    def loss(self, step: int, rng: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """Copy a batch."""
        picked = torch.randint(len(self.people), (self.config.batch,), generator=rng)
        ws = self.people[picked.to(self.people.device)]
        return distillation_loss(self.mapper, self.teacher, ws, self.axes, rng), {}

    def measure(self) -> dict[str, float]:
        """Nothing: ``measure_variant`` does."""
        return {}


def relative_errors(
    mapper: Cipher, codes: Tensor, num_bits: int, seed: int
) -> dict[str, list[float]]:
    """What should agree and does not, for each of ``codes`` (n, 16, 512).

    Root mean square distance of the two codes of each of ``CODE_PAIRS``, over that
    from I to Ie1: 0 is exact, 1 is as far as the encryption itself goes.
    """
    found: dict[str, list[float]] = defaultdict(list)
    for index, ws in enumerate(codes.split(1)):
        named = property_codes(mapper, ws, num_bits, seed + index, ws)
        length = (named["Ie1"] - named["I"]).norm()
        for name, (first, second) in CODE_PAIRS.items():
            gap = (named[first] - named[second]).norm()
            found[name].append(float(gap / length))
    return found


def identities(
    mapper: Cipher,
    codes: Tensor,
    num_bits: int,
    seed: int,
    panel: Panel,
    renderer: Renderer,
) -> dict[tuple[str, str | None], list[float]]:
    """Calibrated identity of each of ``PICTURE_PAIRS``, both judges, and landmarks."""
    found: dict[tuple[str, str | None], list[float]] = defaultdict(list)
    for index, ws in enumerate(codes.split(1)):
        named = property_codes(mapper, ws, num_bits, seed + index, ws)
        wanted = {key for pair in PICTURE_PAIRS.values() for key in pair}
        seen = {key: panel.report(renderer.full(named[key])) for key in sorted(wanted)}
        for name, (first, second) in PICTURE_PAIRS.items():
            a, b = seen[first], seen[second]
            figures = panel.identity_figures(a, b, "W", PSI)
            for judge in ("train", "heldout"):
                found[name, judge].append(figures["id", judge])
        moved = panel.attribute_figures(seen["I"], seen["Ie1"])
        found["landmarks", "heldout"].append(moved["landmarks", "heldout"])
    return found


def ablate(
    generator: Generator,
    teacher: ExactMapper,
    *,
    steps: int = 1500,
    n: int = 16,
    seed: int = 0,
    variants: Mapping[str, Mapping[str, Any]] = VARIANTS,
    progress: bool = True,
) -> dict[str, Any]:
    """Train every variant for ``steps`` and measure it on unseen people.

    Args:
        generator: paints the pictures.
        teacher: what is copied.
        steps: of each variant, 32 people a step.
        n: people whose pictures are judged; codes are compared for 256.
        seed: of weights, training and people.
        variants: names, and what differs from ``MapperConfig()``.
        progress: show bars.

    Returns:
        A dictionary ready for JSON.
    """
    config = TrainConfig(steps=steps, batch=32, lr=1e-3, pool=3000, seed=seed)
    people = generator.sample(range(FIRST_SEED, FIRST_SEED + max(n, CODES)), PSI)
    panel, renderer = Panel(), Renderer(generator)
    rows: list[dict[str, Any]] = []
    for name, options in variants.items():
        torch.manual_seed(seed)  # every variant starts from the same draw
        mapper = build_mapper("faithful", options).to(generator.w_avg.device)
        with tempfile.TemporaryDirectory() as folder:
            task = Copying(mapper, generator, teacher)
            train(task, config, Path(folder), progress=progress)
        with torch.no_grad():
            bits = mapper.num_bits
            exact = relative_errors(mapper, people[:CODES], bits, seed)
            seen = identities(mapper, people[:n], bits, seed, panel, renderer)
        values: dict[tuple[str, str, str | None], list[float]]
        values = {(key, "error", None): found for key, found in exact.items()}
        for (key, judge), found in seen.items():
            metric = "landmarks" if key == "landmarks" else "id"
            values[key, metric, judge] = found
        rows += [
            {"variant": name, "what": what, "metric": metric, "judge": judge}
            | {k: or_none(v) for k, v in bootstrap(found)._asdict().items()}
            for (what, metric, judge), found in values.items()
        ]
    return {
        "teacher": fingerprint(teacher),
        "seed": seed,
        "settings": {"steps": steps, "n": n, "codes": CODES, "psi": PSI},
        "versions": {"facersa": version("facersa"), "torch": torch.__version__},
        "variants": {name: dict(options) for name, options in variants.items()},
        "rows": rows,
    }


def table(result: Mapping[str, Any]) -> str:
    """The result as aligned text, a variant a line: errors, then held-out id."""
    shown: list[tuple[str, tuple[str, str, str | None]]] = []
    shown += [(f"err {what}", (what, "error", None)) for what in CODE_PAIRS]
    shown += [(f"id {what}", (what, "id", "heldout")) for what in PICTURE_PAIRS]
    shown.append(("landmarks", ("landmarks", "landmarks", "heldout")))
    lines = [f"ablation, {result['settings']}, held-out judge"]
    lines.append(f"{'':<16}" + "".join(f"{title:>18}" for title, _ in shown))
    for name in result["variants"]:
        means = {
            (r["what"], r["metric"], r["judge"]): r["mean"]
            for r in result["rows"]
            if r["variant"] == name
        }
        found = (means[key] for _, key in shown)  # None: no face in any picture
        cells = ("-" if mean is None else f"{mean:.4f}" for mean in found)
        lines.append(f"{name:<16}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)
