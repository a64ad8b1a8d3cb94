"""Pictures that were judged once: what all judges said, kept in a folder.

Painting and judging takes a second a picture, so a long measurement that was stopped
goes on with what it has. Files are named by the code that was painted. They hold
figures of generated people only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from tqdm import tqdm

from facersa.errors import FileError
from facersa.files import read_file, write_atomic
from facersa.generator.openvino import Renderer
from facersa.judges.panel import JUDGED_SIDE, Panel, Report
from facersa.photo.images import from_uint8, resize, to_uint8

PARTS = ("identity", "detected", "landmarks", "rotations")  # by judge or family
WHOLE = ("expression", "mesh", "gaze", "expression_outside")


def pack(report: Report) -> dict[str, Tensor]:
    """A report as named tensors, without its picture."""
    tensors = {name: getattr(report, name) for name in WHOLE}
    for part in PARTS:
        for judge, value in getattr(report, part).items():
            tensors[f"{part} {judge}"] = torch.as_tensor(value)
    return {name: value.contiguous() for name, value in tensors.items()}


def unpack(tensors: dict[str, Tensor]) -> Report:
    """The report of ``pack``; its picture is empty.

    Raises:
        LookupError: a part is missing.
    """
    parts: dict[str, dict[str, Tensor]] = {part: {} for part in PARTS}
    for name, value in tensors.items():
        part, _, judge = name.partition(" ")
        if judge:
            parts[part][judge] = value
    return Report(
        torch.empty(1, 3, 0, 0),
        identity=parts["identity"],
        detected={name: float(x) for name, x in parts["detected"].items()},
        landmarks=parts["landmarks"],
        rotations=parts["rotations"],
        **{name: tensors[name] for name in WHOLE},
    )


class JudgedPictures:
    """Reports of codes, from the folder where it has them.

    Args:
        renderer: paints what is not there.
        panel: judges it.
        folder: is made if it does not exist.
    """

    def __init__(self, renderer: Renderer, panel: Panel, folder: str | Path) -> None:
        self.renderer, self.panel, self.folder = renderer, panel, Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, ws: Tensor) -> Path:
        """Where the report of a code (1, num_ws, D) is kept."""
        numbers = ws.detach().cpu().float().contiguous().numpy().tobytes()
        sums = resources.files("facersa") / "weights" / "SHA256SUMS"
        made = hashlib.sha256(sums.read_bytes() + numbers).hexdigest()
        return self.folder / f"{made[:24]}.safetensors"

    def report(self, ws: Tensor) -> Report:
        """What the judges say of the 8-bit picture of a code (1, num_ws, D).

        Raises:
            FileError: its file in the folder is damaged.
        """
        path = self.path(ws)
        if not path.exists():
            picture = from_uint8(to_uint8(self.renderer.full(ws)))
            report = self.panel.report(resize(picture, JUDGED_SIDE))
            write_atomic(path, save(pack(report)))
            return report
        try:
            return unpack(load(read_file(path)))
        except (SafetensorError, LookupError) as error:
            raise FileError(
                f"{path} holds no report of judges ({error}); delete it, and it is "
                "made again."
            ) from error

    def reports(
        self, codes: Iterable[Tensor], *, name: str, show: bool
    ) -> list[Report]:
        """Of codes (1, num_ws, D), with a bar of that name if ``show``."""
        waiting = list(codes)
        return [self.report(ws) for ws in tqdm(waiting, desc=name, disable=not show)]
