"""Tests of pictures that were judged once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from facersa.errors import FileError
from facersa.evaluation.judged import PARTS, WHOLE, JudgedPictures, pack, unpack
from facersa.judges.panel import Report


def report(picture: Tensor) -> Report:
    """Whatever has the shapes of a report, and depends on the picture."""
    mean = picture.mean()
    families = ("train", "heldout")
    return Report(
        picture,
        identity={name: torch.randn(8) + mean for name in (*families, "outside")},
        detected=dict.fromkeys(families, 1.0),
        landmarks={name: torch.rand(1, 68, 2) for name in families},
        rotations={name: torch.eye(3)[None] for name in families},
        expression=torch.randn(7),
        mesh=torch.rand(1, 468, 2),
        gaze=torch.full((1, 2, 2), torch.nan),
        expression_outside=torch.randn(7),
    )


def alike(one: Report, other: Report) -> bool:
    same = [torch.equal(getattr(one, n), getattr(other, n)) for n in WHOLE[:2]]
    for part in PARTS:
        first, second = getattr(one, part), getattr(other, part)
        assert first.keys() == second.keys()
        same += [
            torch.equal(torch.as_tensor(first[key]), torch.as_tensor(second[key]))
            for key in first
        ]
    return all(same)


class Painter:
    """Paints a code as its mean, and counts."""

    painted = 0

    def full(self, ws: Tensor) -> Tensor:
        self.painted += 1
        return ws.mean().clamp(-1, 1).expand(1, 3, 512, 512)


class Judges:
    """Judges in place of a panel."""

    def report(self, picture: Tensor) -> Report:
        return report(picture)


def pictures(folder: Path) -> Any:
    painter: Any = Painter()
    judges: Any = Judges()
    return JudgedPictures(painter, judges, folder)


def test_a_report_survives_its_file() -> None:
    original = report(torch.zeros(1, 3, 64, 64))
    back = unpack(pack(original))
    assert alike(original, back) and back.gaze.isnan().all()
    assert back.detected == original.detected and back.picture.numel() == 0


def test_what_was_judged_is_not_judged_again(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    first = pictures(folder)
    codes = torch.randn(3, 16, 512).split(1)
    before = first.reports(codes, name="test", show=False)
    assert first.renderer.painted == 3
    again = pictures(folder)  # another run
    after = again.reports([*codes, codes[0]], name="test", show=False)
    assert again.renderer.painted == 0
    assert all(alike(*pair) for pair in zip(before, after[:3], strict=True))
    assert not alike(before[0], before[1])
    again.report(codes[0] + 1e-3)
    assert again.renderer.painted == 1


@pytest.mark.parametrize("data", [b"", b"nothing"])
def test_a_damaged_file_names_the_cure(tmp_path: Path, data: bytes) -> None:
    judged = pictures(tmp_path)
    ws = torch.zeros(1, 16, 512)
    judged.report(ws)
    judged.path(ws).write_bytes(data)
    with pytest.raises(FileError, match="delete it"):
        judged.report(ws)
