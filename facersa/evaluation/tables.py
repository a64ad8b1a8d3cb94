"""Tables 1 to 3 of the paper for every system: same generator, people and judges.

Each system is measured on the same people: their pictures, what it makes of them, and,
where it has passwords, what chains of these do. ``verdicts`` makes ticks of that.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from facersa.cipher.base import Cipher
from facersa.cipher.catalogue import load_cipher
from facersa.cipher.password import Password
from facersa.errors import FaceRSAError
from facersa.evaluation.attacks import classifier_accuracy
from facersa.evaluation.baselines.catalogue import BASELINES, build_baseline
from facersa.evaluation.hifd import (
    ORIGINAL,
    Predictions,
    folder_of,
    predictions,
    write_index,
    write_predictions,
)
from facersa.evaluation.properties import close, property_passwords
from facersa.evaluation.results import Key, head, rows
from facersa.evaluation.verdicts import DIFFERENT, SAME, verdicts
from facersa.files import read_file, write_atomic
from facersa.generator.base import Generator
from facersa.generator.openvino import PREVIEW, Renderer
from facersa.judges.look import load_look
from facersa.judges.metrics import PAPER_PEAK
from facersa.judges.panel import JUDGED_SIDE, Panel, Report
from facersa.people import people
from facersa.photo.images import resize

PSI = 0.7
OURS = ("steady", "rotation", "ring", "faithful")
PAPER_DB = 20 * math.log10(PAPER_PEAK)  # what the paper's convention of PSNR adds
PIXELS = ("c", "f", "g", "h")  # where pictures should be equal


@dataclass(frozen=True)
class TablesConfig:
    """How much is measured.

    Attributes:
        n: people.
        chained: the first so many of them, for chains of two passwords.
        detected: people whose pictures only the detectors and the classifier see, (a).
        coded: people whose codes are compared, without a picture.
        previews: paint previews of 256 x 256, a tenth of the time, not full pictures.
    """

    n: int = 20
    chained: int = 10
    detected: int = 40
    coded: int = 500
    previews: bool = False


PRESETS: Mapping[str, TablesConfig] = {
    "smoke": TablesConfig(2, 1, 2, 4, previews=True),
    "cpu": TablesConfig(),
    "gpu": TablesConfig(200, 100, 200),
}


class Own:
    """One of this package's ciphers as a ``CodeSystem``: -e undoes e."""

    def __init__(self, cipher: Cipher) -> None:
        self.cipher = cipher
        self.num_bits = cipher.num_bits

    def __call__(self, ws: Tensor, code: Tensor) -> Tensor:
        """Encrypt."""
        return self.cipher(ws, code)

    def decrypt(self, ws: Tensor, code: Tensor) -> Tensor:
        """Encrypt with -e."""
        return self.cipher(ws, -code)


def system_names() -> list[str]:
    """All that is measured: the other systems, then ours."""
    return [*BASELINES, *(f"ours, {name}" for name in OURS)]


def build_system(name: str, generator: Generator, rng: torch.Generator) -> Any:
    """A system of ``system_names``."""
    if name.startswith("ours, "):
        return Own(load_cipher(name.removeprefix("ours, ")))
    return build_baseline(name, generator, rng)


def system_codes(
    system: Any, ws: Tensor, passwords: Sequence[Password], *, chains: bool
) -> dict[str, Tensor]:
    """The codes that ``DIFFERENT`` and ``SAME`` name, of one person (1, rows, 512).

    ``passwords`` are e1, e2 and a wrong one. Names spell chains, as in ``properties``:
    d1 undoes e1 in the system's own way, d' is the wrong password's.
    """
    e1, e2, wrong = (password.code for password in passwords)
    codes = {"I": ws, "Ie1": system(ws, e1), "Ie2": system(ws, e2)}
    decrypt = system.decrypt
    if decrypt is None:
        return codes
    codes["Ie1d1"] = decrypt(codes["Ie1"], e1)
    codes["Ie1d'"] = decrypt(codes["Ie1"], wrong)
    if chains:
        codes["Ie1e2"] = system(codes["Ie1"], e2)
        codes["Ie1e2d2"] = decrypt(codes["Ie1e2"], e2)
        codes["Ie1e2d2d1"] = decrypt(codes["Ie1e2d2"], e1)
        codes["Ie1e2d1"] = decrypt(codes["Ie1e2"], e1)
        codes["Ie1e2d1d2"] = decrypt(codes["Ie1e2d1"], e2)
        codes["I(e1+e2)"] = system(ws, e1 + e2)
    return codes


class Measured:
    """The people, their pictures and what the judges say of these, made once.

    Args:
        generator: paints.
        config: how many people, and how they are painted.
        panel: the judges.
        seed: draws the people.
        folder: where the judges' predictions go, see ``hifd``; None for nowhere.
    """

    def __init__(
        self,
        generator: Generator,
        config: TablesConfig,
        panel: Panel,
        seed: int,
        folder: Path | None = None,
    ) -> None:
        self.config, self.panel = config, panel
        self.renderer = Renderer(generator)
        painted = max(config.n, config.detected)
        self.codes = people(generator, "W", PSI, max(painted, config.coded), seed)
        self.pictures = [self.paint(ws) for ws in self.codes[:painted].split(1)]
        looked = self.pictures[: config.detected]
        self.features = [panel.features(picture) for picture in looked]
        self.reports = [self.judge(picture) for picture in self.pictures[: config.n]]
        self.folder = folder
        self.write(ORIGINAL, self.reports)

    def paint(self, ws: Tensor) -> Tensor:
        """A code (1, rows, 512) as it is judged, of side 512."""
        if self.config.previews:
            (picture,) = self.renderer.stream(ws, PREVIEW)
        else:
            picture = self.renderer.full(ws)
        return resize(picture, JUDGED_SIDE).clamp(-1, 1)

    def judge(self, picture: Tensor) -> Report:
        """What all judges say of a picture."""
        return self.panel.report(picture)

    def write(self, name: str, reports: Sequence[Report]) -> None:
        """Write what the judges said of one picture of each person."""
        if self.folder is None:
            return
        look = load_look()
        said = {f"{k:04d}": predictions(r, look) for k, r in enumerate(reports)}
        write_predictions(self.folder, name, said)
        if name == ORIGINAL:
            every: Predictions = {}
            for one in said.values():
                every |= one
            write_index(self.folder, system_names(), every)


def measure_system(
    system: Any, measured: Measured, seed: int, *, name: str = "", progress: bool = True
) -> list[dict[str, Any]]:
    """Rows of one system, as ``results`` has them."""
    values: dict[Key, list[float]] = defaultdict(list)
    encrypted = []
    for index in tqdm(range(measured.config.n), desc=name, disable=not progress):
        reports = _reports(system, measured, index, seed)
        encrypted.append(reports["Ie1"])
        _note(values, measured.panel, reports)
    measured.write(name, encrypted)
    return rows(values)


def looked_at(system: Any, measured: Measured, seed: int) -> dict[Key, list[float]]:
    """(a): is a face found in encrypted pictures, and are they told from plain ones?"""
    values: dict[Key, list[float]] = defaultdict(list)
    features, panel = [], measured.panel
    for index in range(measured.config.detected):
        if hasattr(system, "decrypt"):
            (e1, *_), _ = property_passwords(system.num_bits, seed * 100_000 + index)
            ws = measured.codes[index : index + 1]
            picture = measured.paint(system(ws, e1.code))
        else:
            picture = system(measured.pictures[index])
        for family, detected in panel.detected(picture).items():
            values["a", "Ie1", "detected", family].append(detected)
        features.append(panel.features(picture))
    plain, encrypted = torch.stack(measured.features), torch.stack(features)
    accuracy = classifier_accuracy(plain, encrypted)
    return values | {("a", "I~Ie1", "classifier_accuracy", None): accuracy.tolist()}


def same_codes(system: Any, measured: Measured, seed: int) -> dict[Key, list[float]]:
    """(c), (f), (g), (h): whether both codes of a pair differ by rounding only."""
    values: dict[Key, list[float]] = defaultdict(list)
    if getattr(system, "decrypt", None) is None:
        return values
    for index, ws in enumerate(measured.codes[: measured.config.coded].split(1)):
        (e1, e2, *_), wrong = property_passwords(
            system.num_bits, seed * 100_000 + index
        )
        codes = system_codes(system, ws, (e1, e2, wrong), chains=True)
        for prop, pairs in SAME.items():
            for pair in pairs:
                same = close(*(codes[one] for one in pair.split("~")))
                values[prop, pair, "same_code", None].append(float(same))
    return values


def _reports(
    system: Any, measured: Measured, index: int, seed: int
) -> dict[str, Report]:
    original = measured.reports[index]
    if not hasattr(system, "decrypt"):
        return {"I": original, "Ie1": measured.judge(system(original.picture))}
    ws = measured.codes[index : index + 1]
    (e1, e2, *_), wrong = property_passwords(system.num_bits, seed * 100_000 + index)
    chains = index < measured.config.chained
    codes = system_codes(system, ws, (e1, e2, wrong), chains=chains)
    reports: dict[str, Report] = {}
    for key, code in codes.items():
        first = next(k for k in codes if close(codes[k], code))
        if first in reports:
            reports[key] = reports[first]
        else:
            own = key == "I"
            reports[key] = original if own else measured.judge(measured.paint(code))
    return reports


def _note(
    values: dict[Key, list[float]], panel: Panel, reports: Mapping[str, Report]
) -> None:
    for prop, pairs in {**DIFFERENT, **SAME}.items():
        for pair in pairs:
            first, second = pair.split("~")
            if second not in reports:
                continue
            a, b = reports[first], reports[second]
            figures = panel.identity_figures(a, b, "W", PSI)
            if prop == "b":
                figures |= panel.attribute_figures(a, b)
            if prop in PIXELS:
                figures |= panel.pixel_figures(a.picture, b.picture)
                figures["psnr_paper", None] = figures["psnr", None] + PAPER_DB
            for (metric, judge), figure in figures.items():
                values[prop, pair, metric, judge].append(figure)


def measure_tables(
    generator: Generator,
    config: TablesConfig,
    file: str | Path | None = None,
    *,
    seed: int = 0,
    panel: Panel | None = None,
    names: Sequence[str] | None = None,
    folder: Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Measure all systems; those that ``file`` holds already are kept.

    Args:
        generator: paints.
        config: how much.
        file: JSON, written after every system.
        seed: of people, passwords and noise.
        panel: judges that are loaded already.
        names: of ``system_names``, in place of all.
        folder: where the judges' predictions are written as well, see ``hifd``. A
            system without them is measured again.
        progress: show bars.

    Returns:
        A head, see ``results``, and "systems": name to its "rows" and "table_1".

    Raises:
        FaceRSAError: ``file`` holds something else, or other settings.
    """
    result = head("tables", settings=asdict(config) | {"psi": PSI}, seed=seed)
    result["systems"] = {}
    if file is not None and Path(file).exists():
        result = _continued(result, Path(file))
    measured = None
    for name in names or system_names():
        written = folder is None or (folder / folder_of(name)).is_dir()
        if name in result["systems"] and written:
            continue
        if measured is None:
            measured = Measured(generator, config, panel or Panel(), seed, folder)
        # Twice, since some draw noise: (a) begins with the pictures of the others.
        system, again = (
            build_system(name, generator, torch.Generator().manual_seed(seed))
            for _ in range(2)
        )
        found = measure_system(system, measured, seed, name=name, progress=progress)
        found += rows(looked_at(again, measured, seed))
        found += rows(same_codes(again, measured, seed))
        line = {
            prop: cell._asdict() for prop, cell in verdicts(found, config.n).items()
        }
        result["systems"][name] = {"rows": found, "table_1": line}
        if file is not None:
            write_atomic(file, (json.dumps(result, indent=1) + "\n").encode())
    return result


def _continued(fresh: dict[str, Any], file: Path) -> dict[str, Any]:
    try:
        stored = json.loads(read_file(file))
        same = all(stored[k] == fresh[k] for k in ("experiment", "settings", "seed"))
        systems = dict(stored["systems"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise FaceRSAError(
            f"{file} holds no tables to go on with ({error}); name another file."
        ) from error
    if not same:
        raise FaceRSAError(
            f"{file} holds tables of other settings or another seed; name another file."
        )
    return {**fresh, "systems": systems}
