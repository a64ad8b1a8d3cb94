"""How close an inversion comes to the picture, by each way of finding it.

For photographs the picture is a crop of the photograph; for generated people it is
what their code paints, so that the code itself can be compared as well. Quality is
told against the picture, not against the generator's best copy of it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from facersa.evaluation.results import rows_of
from facersa.generator.openvino import Renderer
from facersa.generator.statistics import WStatistics
from facersa.inversion.inverter import Inverter
from facersa.inversion.search import ProjectConfig
from facersa.judges.panel import Panel
from facersa.photo.images import from_uint8, resize, to_uint8
from facersa.sealing.compact import CompactCode


class Way(NamedTuple):
    """A way to a code.

    Attributes:
        steps: of the search; none leave the guess.
        guess: the encoder starts it, or nothing does.
        stored: search for a code that the pixels of a file can hold
            (``CompactCode``), as ``encrypt`` does, or for any code.
    """

    steps: int
    guess: bool = True
    stored: bool = False


WAYS: Mapping[str, Way] = {
    "encoder": Way(0),
    "encoder, 100 steps": Way(100),
    "encoder, 100 steps, stored": Way(100, stored=True),
}

JUDGED = 256


def fidelity(
    inverter: Inverter,
    pictures: Sequence[Tensor],
    *,
    codes: Tensor | None = None,
    psi: float = 1.0,
    ways: Mapping[str, Way] = WAYS,
    what: str = "photographs",
    progress: bool = True,
) -> dict[str, Any]:
    """Invert aligned pictures in several ways and compare.

    Args:
        inverter: the networks.
        pictures: aligned faces (1, 3, R, R) in [-1, 1].
        codes: (n, 16, 512) that painted them, if they were painted.
        psi: of the judges' calibration, 1 for photographs.
        ways: by name.
        what: is shown, for the report.
        progress: show a bar.

    Returns:
        A dictionary ready for JSON, rows as those of ``evaluate``: "pair" is the way;
        identity, pixel figures and landmarks against the picture, at 1024 x 1024;
        "lpips_256" at the side where most papers measure it; "seconds" of the wall
        clock; for painted people "code", the error of the code relative to its
        distance from the mean.
    """
    panel, renderer = Panel(), Renderer(inverter.generator)
    table, stats = CompactCode.load(), WStatistics.load()

    def storable(ws: Tensor) -> Tensor:
        return table.quantise(ws.cpu(), stats).to(ws)

    values: dict[tuple[str, str, str, str | None], list[float]] = defaultdict(list)
    for index, picture in enumerate(tqdm(pictures, desc=what, disable=not progress)):
        picture = resize(picture, inverter.generator.resolution)
        wanted = panel.report(picture)
        for name, way in ways.items():
            begin = time.perf_counter()
            ws = inverter.find(
                picture,
                config=replace(ProjectConfig(), steps=way.steps),
                guess=way.guess,
                rounded=storable if way.stored else None,
                progress=False,
            )
            seconds = time.perf_counter() - begin
            found = panel.report(from_uint8(to_uint8(renderer.full(ws))))
            figures = panel.identity_figures(wanted, found, "W", psi)
            figures |= panel.attribute_figures(wanted, found)
            figures.update(panel.pixel_figures(picture, found.picture).items())
            small = (resize(seen, JUDGED) for seen in (picture, found.picture))
            figures["lpips_256", None] = float(panel.lpips(*small))
            figures["seconds", None] = seconds
            if codes is not None:
                true = codes[index : index + 1]
                gap = (ws - true).norm() / (
                    true - inverter.generator.w_avg.cpu()
                ).norm()
                figures["code", None] = float(gap)
            for (metric, judge), value in figures.items():
                values["inversion", name, metric, judge].append(value)
    return {
        "cipher": what,
        "settings": {"n": len(pictures), "psi": psi, "ways": list(ways)},
        "versions": {"facersa": version("facersa"), "torch": torch.__version__},
        "rows": rows_of(values),
        "attacks": [],
    }
