"""How close an inversion comes to the picture, by each method of inversion.

For photographs the picture is a crop of the photograph; for generated people it is
what their code paints, so that the code itself can be compared as well. Quality is
measured against the picture, not against the generator's best copy of it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor
from tqdm import tqdm

from facersa.evaluation.results import Key, head, rows
from facersa.generator.mobile_stylegan import MobileStyleGAN
from facersa.generator.openvino import Renderer
from facersa.generator.statistics import WStatistics
from facersa.inversion.inverter import Inverter
from facersa.inversion.search import ProjectConfig
from facersa.judges.panel import Panel
from facersa.people import Stratum
from facersa.photo.images import from_uint8, resize, to_uint8
from facersa.sealing.compact import CompactCode


class Way(NamedTuple):
    """A method of inversion.

    Attributes:
        steps: of the search; 0 leaves the encoder's guess.
        guess: whether the search starts from the encoder's guess.
        stored: whether to search for a code that the pixels of a file can hold
            (``CompactCode``), as ``encrypt`` does.
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
    stratum: Stratum = "W",
    psi: float = 1.0,
    ways: Mapping[str, Way] = WAYS,
    what: str = "photographs",
    panel: Panel | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Invert aligned pictures in several ways and compare.

    Args:
        inverter: the networks.
        pictures: aligned faces (1, 3, R, R) in [-1, 1].
        codes: (n, num_ws, 512) that painted them, if they were painted.
        stratum: of the judges' calibration; "W" for photographs and encrypted people.
        psi: of the same, 1 for photographs.
        ways: by name.
        what: the pictures show, for the report.
        panel: judges that are loaded already.
        progress: show a bar.

    Returns:
        A result, see ``results``, where "pair" is the way: identity, pixel figures and
        landmarks against the picture, at full size; "lpips_256" at the side where
        most papers measure it; "seconds" of the wall clock; for painted people "code",
        the error of the code relative to its distance from the mean.
    """
    panel, renderer = panel or Panel(), Renderer(inverter.generator)
    table, stats = CompactCode.load(), WStatistics.of(inverter.generator)
    ways = {name: way for name, way in ways.items() if _possible(way, inverter)}

    def storable(ws: Tensor) -> Tensor:
        return table.quantise(ws.cpu(), stats).to(ws)

    values: dict[Key, list[float]] = defaultdict(list)
    for index, picture in enumerate(tqdm(pictures, desc=what, disable=not progress)):
        picture = resize(picture, inverter.generator.resolution)
        target = panel.report(picture)
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
            copy = panel.report(from_uint8(to_uint8(renderer.full(ws))))
            figures = panel.identity_figures(target, copy, stratum, psi)
            figures |= panel.attribute_figures(target, copy, stratum, psi)
            figures |= panel.pixel_figures(picture, copy.picture)
            small = (resize(x, JUDGED) for x in (picture, copy.picture))
            figures["lpips_256", None] = float(panel.lpips(*small))
            figures["seconds", None] = seconds
            if codes is not None:
                true = codes[index : index + 1].cpu()
                length = (true - inverter.generator.w_avg.cpu()).norm()
                figures["code", None] = float((ws - true).norm() / length)
            for (metric, judge), value in figures.items():
                values["inversion", name, metric, judge].append(value)
    settings = {"n": len(pictures), "psi": psi, "stratum": stratum, "ways": list(ways)}
    return head("inversions", pictures=what, settings=settings) | {"rows": rows(values)}


def _possible(way: Way, inverter: Inverter) -> bool:
    """Pixels store codes of MobileStyleGAN only; a guess needs an encoder."""
    if way.stored and not isinstance(inverter.generator, MobileStyleGAN):
        return False
    return way.steps > 0 or inverter.encoder is not None
