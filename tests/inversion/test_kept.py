from __future__ import annotations

from pathlib import Path

import pytest
import torch

from facersa.errors import FileError
from facersa.inversion.kept import KeptInversions


def test_codes_are_kept_by_face_and_way(tmp_path: Path) -> None:
    image, code = torch.rand(1, 3, 8, 8) * 2 - 1, torch.randn(1, 16, 512)
    kept = KeptInversions(tmp_path / "kept")
    key = kept.key(image, "200 steps")
    assert kept.get(key, (1, 16, 512)) is None
    kept.add(key, code)
    other = KeptInversions(tmp_path / "kept")  # of another program
    kept.add(kept.key(image, "0 steps"), code + 1)
    other.add("other", code)
    again = KeptInversions(tmp_path / "kept")
    found = again.get(key, (1, 16, 512))
    assert found is not None and torch.equal(found, code)
    assert len(again.codes) == 3
    assert again.get(key, (1, 18, 512)) is None
    assert again.get(kept.key(-image, "200 steps"), (1, 16, 512)) is None
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0


def test_codes_that_are_not_finite_are_not_taken(tmp_path: Path) -> None:
    kept = KeptInversions(tmp_path / "kept")
    kept.add("one", torch.full((1, 2, 3), torch.nan))
    assert KeptInversions(tmp_path / "kept").get("one", (1, 2, 3)) is None


@pytest.mark.parametrize("content", [b"", b"not tensors", b"\xff" * 100])
def test_another_file_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "kept"
    path.write_bytes(content)
    with pytest.raises(FileError, match="holds no inversions"):
        KeptInversions(path)
    assert path.read_bytes() == content
