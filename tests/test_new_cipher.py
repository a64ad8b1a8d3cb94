"""A cipher of one's own needs a class and an entry: then everything works with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from facersa.__main__ import main
from facersa.cipher.base import Settings, add_rows, check_code
from facersa.cipher.catalogue import CATALOGUE, Entry, load_cipher
from facersa.photo.images import save_png


class Shift:
    """Adds one fixed direction for each bit: exact, and as simple as can be."""

    name = "shift"
    exact = True

    def __init__(self, layers: list[int] | None = None, num_bits: int = 16) -> None:
        self.layers = tuple(layers or (5, 6))
        self.num_bits = num_bits

    @property
    def settings(self) -> Settings:
        return {"layers": list(self.layers), "num_bits": self.num_bits}

    def __call__(self, ws: Tensor, code: Tensor) -> Tensor:
        rng = torch.Generator().manual_seed(7)
        directions = 0.2 * torch.randn(self.num_bits, 1, 512, generator=rng)
        code = check_code(code, ws, self.num_bits)
        step = torch.einsum("bn,nrd->brd", code, directions.to(ws))
        return add_rows(ws, self.layers, step.expand(-1, len(self.layers), -1))


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    entry = Entry(31, lambda settings, _: Shift(**settings), public=("layers",))
    monkeypatch.setitem(CATALOGUE, "shift", entry)
    yield


def test_it_is_loaded_by_name(any_ws: Tensor) -> None:
    cipher = load_cipher("shift", layers=[4], num_bits=8)
    code = torch.full((1, 8), 0.5)
    back = cipher(cipher(any_ws, code), -code)
    torch.testing.assert_close(back, any_ws, atol=1e-6, rtol=0)


@pytest.mark.slow
def test_the_command_line_encrypts_and_decrypts_with_it(
    tmp_path: Path, astronaut: Tensor
) -> None:
    photo, out, back = (tmp_path / f"{n}.png" for n in ("photo", "out", "back"))
    save_png(astronaut, photo)
    secret = ["--password", "apple"]
    encrypt = ["encrypt", photo, "-o", out, "--cipher", "shift", "--steps", "0"]
    assert main([*map(str, encrypt), *secret]) == 0
    assert main(["decrypt", str(out), "-o", str(back), *secret]) == 0
    assert back.exists()
    back.unlink()
    from_pixels = ["--from-pixels", *secret]
    assert main(["decrypt", str(out), "-o", str(back), *from_pixels]) == 0
    assert back.exists()


@pytest.mark.slow
def test_it_is_evaluated_like_the_others(tmp_path: Path) -> None:
    table = tmp_path / "table.json"
    arguments = ["evaluate", "--cipher", "shift", "--n", "2", "--json", str(table)]
    assert main(arguments) == 0
    result = json.loads(table.read_text())
    assert result["cipher"] == "shift, rows [5, 6]"
    assert set(result) >= {"cipher", "seed", "versions", "rows"}
    assert {row["property"] for row in result["rows"]} == {*"abcdefgh", "attack"}
    rows = {(r["property"], r["pair"], r["metric"]): r["mean"] for r in result["rows"]}
    assert rows["h", "Ie1e2~I(e1+e2)", "w_error"] < 1e-5
