"""What each loss, each remedy and each choice of form teaches the paper's mapper.

The paper says that three groups of losses teach one network all properties. Here the
network is trained from random weights again and again, in as many steps, each time with
one thing left out or changed. Then every property is measured on painted pictures of
people it never saw. Training is by the judge of codes (``training.scratch``), so a
variant takes minutes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from facersa.errors import CheckpointError, FaceRSAError
from facersa.evaluation.results import Key, head, rows
from facersa.files import write_atomic
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.judges.calibration import calibration
from facersa.judges.panel import Panel
from facersa.people import people
from facersa.training.distilled import CodeJudge
from facersa.training.loop import TrainConfig, train
from facersa.training.recipes import ScratchRecipe, scratch_preset
from facersa.training.scratch import CURVES, ScratchTask, curve_codes

PSI = 0.85
HELD_OUT = ("b", "c", "h")  # properties that the held-out judge looks at as well
ALIKE = ("c", "h", "h-")  # whose pictures should be equal: LPIPS is measured
SEEDS = 3  # trainings of each variant
PUBLISHED = {"norm": "rows", "last_activation": True, "odd": False}
# What differs from the recipe that ships: its fields, and weights of losses.
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "all losses": {},
    "without L_seq": {"groups": ("single", "associated")},
    "without L_asso": {"groups": ("single", "sequential")},
    "L_single alone": {"groups": ("single",)},
    "with a ramp": {"ramp": 0.6},
    "from near the identity": {"first_size": 0.1},
    "fewer passwords one bit away": {"one_bit": 0.5},
    "all pairs count alike": {"weights": {"power": 1.0}},
    "without reader and hinge": {"weights": {"reader": 0.0, "hinge": 0.0}},
    "without recovery of codes": {"weights": {"recover_code": 0.0}},
    "without landmarks": {"weights": {"landmarks": 0.0}},
    "without LPIPS": {"weights": {"lpips": 0.0}},
    "without parsing": {"weights": {"parts": 0.0}},
    "any size of change": {"weights": {"code": 0.0}},
    "without limits on codes": {
        "weights": {"code": 0.0, "radius": 0.0, "outliers": 0.0}
    },
    "not odd in p": {"options": {"odd": False}},
    "not odd, with a ramp": {"options": {"odd": False}, "ramp": 0.6},
    "as published": {"options": PUBLISHED},
    "as published, with a ramp": {"options": PUBLISHED, "ramp": 0.6},
    "m = 3": {"pairs": 3},
    "m = 4": {"pairs": 4},
    "32 bits": {"options": {"num_bits": 32}},
}


def varied(recipe: ScratchRecipe, changes: Mapping[str, Any]) -> ScratchRecipe:
    """``recipe`` with ``changes``, as ``VARIANTS`` writes them."""
    fields = dict(changes)
    fields["weights"] = replace(recipe.weights, **fields.get("weights", {}))
    fields["options"] = {**recipe.options, **fields.get("options", {})}
    return replace(recipe, **fields)


@torch.no_grad()
def picture_figures(
    task: ScratchTask, codes: Tensor, panel: Panel, renderer: Renderer
) -> dict[tuple[str, str, str | None], list[float]]:
    """By property, metric and judge: figures of previews of ``codes`` (n, rows, 512).

    id_raw and id of every pair of ``CURVES``, LPIPS of those that should be equal, and
    the distance of landmarks that an encryption moves, in sides.
    """
    named = curve_codes(task.mapper, codes, torch.Generator().manual_seed(1))
    values: dict[tuple[str, str, str | None], list[float]] = defaultdict(list)
    pictures = {name: renderer.preview(code) for name, code in named.items()}
    embeddings = {k: panel.identity.embed(picture) for k, picture in pictures.items()}
    shown = dict.fromkeys(name for prop in HELD_OUT for name in CURVES[prop])
    held_out = {name: panel.heldout.embed(pictures[name]) for name in shown}
    for prop, (first, second) in CURVES.items():
        judges = {"train": embeddings} | (
            {"heldout": held_out} if prop in HELD_OUT else {}
        )
        for judge, vectors in judges.items():
            cosine = F.cosine_similarity(vectors[first], vectors[second])
            values[prop, "id_raw", judge] = cosine.tolist()
            scaled = calibration(judge, "W", PSI).identity(cosine)
            values[prop, "id", judge] = scaled.tolist()
        if prop in ALIKE:
            distance = panel.lpips(pictures[first], pictures[second])
            values[prop, "lpips", None] = distance.flatten().tolist()
    before, after = (panel.landmarks.landmarks(pictures[k]) for k in CURVES["b"])
    moved = (before - after).norm(dim=-1).mean(1)
    values["b", "landmarks", "train"] = moved.tolist()
    return values


def run_variant(
    task: ScratchTask,
    config: TrainConfig,
    codes: Tensor,
    panel: Panel,
    folder: Path,
    *,
    progress: bool = True,
) -> dict[str, Any]:
    """Train one variant and measure it, or read what ``folder`` holds of it.

    Raises:
        CheckpointError: that is of another recipe.
    """
    done = folder / "figures.json"
    made_by = json.loads(json.dumps([asdict(config), task.settings, len(codes)]))
    if done.exists():
        if (result := json.loads(done.read_bytes())).get("made_by") != made_by:
            raise CheckpointError(
                f"{folder} holds a run of another recipe; use another folder."
            )
        return result
    train(task, config, folder, progress=progress)
    figures = picture_figures(task, codes, panel, Renderer(task.generator))
    curves = []
    for line in (folder / "log.jsonl").read_text().splitlines():
        step = json.loads(line)
        if "curve b" in step:
            curves.append(
                {k: round(v, 5) for k, v in step.items() if k[:5] in ("step", "curve")}
            )
    result = {
        "made_by": made_by,
        "figures": [[*key, value] for key, value in figures.items()],
        "curves": curves,
    }
    write_atomic(done, json.dumps(result).encode())
    return result


def ablate(
    generator: Generator,
    judge: CodeJudge,
    folder: Path,
    *,
    steps: int = 160,
    n: int = 10,
    seed: int = 0,
    variants: Mapping[str, Mapping[str, Any]] = VARIANTS,
    seeds: int = SEEDS,
    panel: Panel | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Train every variant for ``steps`` and measure it on people it was not trained on.

    Args:
        generator: draws the people and paints the pictures.
        judge: of codes.
        folder: of all runs; what is finished there is not done again.
        steps: of each variant.
        n: people whose pictures are judged.
        seed: of weights, training and people.
        variants: names, and what differs from the recipe that ships.
        seeds: how often each variant is trained; one after another from ``seed``.
        panel: judges that are loaded already.
        progress: show bars.

    Returns:
        A result, see ``results``: "pair" is the variant, "property" one of ``CURVES``.
        Values of all seeds are pooled; "seeds" has their means, "curves" the curves.

    Raises:
        FaceRSAError: no step, no training or no person.
    """
    if min(steps, seeds) < 1:
        raise FaceRSAError(
            f"expected at least one step and one training, got {steps} and {seeds}; "
            "leave --steps and --seeds out for the usual ones."
        )
    preset, recipe = scratch_preset("cpu")
    recipe = replace(recipe, curves_every=max(1, steps // 10))
    config = replace(preset, steps=steps, pool=2000, save_every=steps)
    codes, panel = people(generator, "W", PSI, n, seed), panel or Panel()
    values: dict[Key, list[float]] = defaultdict(list)
    curves: dict[str, list[Any]] = {}
    means: dict[str, list[dict[str, float]]] = {}
    # Seed by seed: what is stopped early has all variants, in fewer trainings.
    for number in range(seed, seed + seeds):
        for name, changes in variants.items():
            task = ScratchTask(
                judge,
                varied(recipe, changes),
                generator,
                panel.identity,
                panel.landmarks,
                seed=number,
            )
            task.painted = 0
            place = folder / f"{name.replace(' ', '-')}-{number}"
            own = replace(config, seed=number)
            result = run_variant(task, own, codes, panel, place, progress=progress)
            curves.setdefault(name, []).append(result["curves"])
            mean = {}
            for prop, metric, by, found in result["figures"]:
                values[prop, name, metric, by] += found
                if by != "heldout":
                    mean[f"{prop} {metric}"] = sum(found) / len(found)
            means.setdefault(name, []).append(mean)
    settings = {"steps": steps, "batch": config.batch, "n": n, "psi": PSI}
    return head(
        "ablation",
        recipe=asdict(recipe),
        variants={name: dict(changes) for name, changes in variants.items()},
        settings=settings | {"seeds": seeds},
        seed=seed,
    ) | {"rows": rows(values), "seeds": means, "curves": curves}
