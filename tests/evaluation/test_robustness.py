"""Tests of the measurement of decryption from changed pixels."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from PIL import Image

from facersa.cipher.password import Password
from facersa.evaluation import robustness
from facersa.evaluation.results import value
from facersa.evaluation.robustness import (
    CHANGES,
    IN_W,
    IN_W_WRONG,
    from_pixels,
    painted,
    recompress,
    rescale,
    without_mark,
)
from facersa.generator.base import Generator
from facersa.inversion.inverter import Inverter
from facersa.inversion.search import ProjectConfig
from facersa.judges.panel import Panel
from facersa.people import people
from facersa.photo.images import decode_image, png_bytes
from facersa.pipeline import FaceRSA


def picture() -> bytes:
    rng = torch.Generator().manual_seed(0)
    return png_bytes(torch.rand(1, 3, 60, 90, generator=rng) * 2 - 1)


def test_changes_do_what_their_names_say() -> None:
    data = picture()
    with Image.open(io.BytesIO(recompress(75, data))) as opened:
        assert opened.format == "JPEG" and opened.size == (90, 60)
    assert len(recompress(50, data)) < len(recompress(95, data))
    assert decode_image(rescale(0.5, data)).shape == (1, 3, 60, 90)
    assert decode_image(rescale(0.5, data, back=False)).shape == (1, 3, 30, 45)
    assert CHANGES["PNG"](data) == data
    assert all(
        decode_image(change(data)).isfinite().all() for change in CHANGES.values()
    )


def test_a_painted_person_is_its_own_photograph(generator: Generator) -> None:
    engine = FaceRSA(generator)
    inversion = painted(engine, generator.sample([5], 0.7))
    assert inversion.aligned.side == 1024
    assert torch.equal(inversion.photo, inversion.aligned.image)


def test_a_search_in_w_looks_through_the_password(generator: Generator) -> None:
    """For one vector in all rows, and under either password for what it encrypts to."""
    plain, config = generator.sample([7], 0.7), replace(ProjectConfig(), steps=3)
    cipher = FaceRSA(generator).cipher()
    e, other = (Password.random(cipher.num_bits, seed=n) for n in range(2))
    asked: list[dict[str, Any]] = []

    class Recorder:
        def guess(self, face: torch.Tensor) -> torch.Tensor:
            return plain

        def find(self, face: torch.Tensor, **how: Any) -> torch.Tensor:
            asked.append(how)
            return plain

    def read(
        config: ProjectConfig | None, other: Password | None
    ) -> dict[str, tuple[torch.Tensor, Password]]:
        asked.clear()
        inverter = cast(Inverter, Recorder())
        return without_mark(inverter, cipher, torch.zeros(1), e, config, other)

    assert list(read(None, other)) == ["encoder"] and not asked
    assert list(read(config, None)) == ["encoder", "fit", "fit from the encoder"]
    assert [how["guess"] for how in asked] == [False, True]
    readings = read(config, other)
    for kind, password, how in zip(
        (IN_W, IN_W_WRONG), (e, other), asked[2:], strict=True
    ):
        encrypted, key = readings[kind]
        assert key == password and not how["guess"]
        assert how["config"] == replace(config, w_share=1.0)
        torch.testing.assert_close(encrypted, cipher(plain, password.code))
        torch.testing.assert_close(how["through"](plain), encrypted)


@pytest.mark.slow
def test_the_table_shows_what_survives_and_what_does_not(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    mild = {name: CHANGES[name] for name in ("PNG", "JPEG 75")}
    tiny = {"tiny": lambda data: rescale(0.05, data)}
    monkeypatch.setattr(robustness, "CHANGES", mild | tiny)
    result = from_pixels(
        FaceRSA(generator),
        n=1,
        fits=1,
        search=replace(ProjectConfig(), steps=3, candidates=2),
        progress=False,
    )
    for name in mild:
        assert value(result, "pixels", name, "read").mean == 1
        identity = value(result, "pixels", name, "id", "heldout").mean
        assert identity == pytest.approx(1, abs=1e-5)
        assert value(result, "pixels", name, "lpips").mean == 0
    assert value(result, "pixels", "tiny", "read").mean == 0
    assert value(result, "pixels", "tiny", "id", "heldout").mean == 0
    assert 44 < value(result, "pixels", "mark", "psnr").mean < 52
    assert value(result, "pixels", "rounding", "id", "train").mean > 0.8
    near, far = (
        value(result, "pixels", f"{kind}: the picture", "lpips").mean
        for kind in (IN_W, IN_W_WRONG)
    )
    assert value(result, "pixels", IN_W, "nearer").mean == float(near < far)
    for kind in ("encoder", "fit", "fit from the encoder", IN_W, IN_W_WRONG):
        assert value(result, "pixels", f"{kind}: the picture", "id", "train").n == 1
        back = value(result, "pixels", f"{kind}: decrypted", "id", "train").mean
        assert back < 0.8
    assert result["settings"]["n"] == 1


def test_row_mixed_people_are_drawn_and_judged_as_such(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stratum was ignored before."""
    monkeypatch.setattr(robustness, "CHANGES", {})
    engine, asked, drawn = FaceRSA(generator), set(), []

    class Recorder:
        def report(self, picture: torch.Tensor) -> Any:
            return SimpleNamespace(picture=picture)

        def identity_figures(self, a: Any, b: Any, *how: object) -> dict:
            asked.add(how)
            return {}

        def pixel_figures(self, a: Any, b: Any) -> dict:
            return {}

    def recorded(engine: FaceRSA, ws: torch.Tensor) -> Any:
        drawn.append(ws)
        return painted(engine, ws)

    monkeypatch.setattr(robustness, "painted", recorded)
    result = from_pixels(
        engine,
        n=1,
        stratum="row-mixed",
        psi=0.7,
        panel=cast(Panel, Recorder()),
        progress=False,
    )
    assert torch.equal(drawn[0], people(generator, "row-mixed", 0.7, 1))
    assert len(torch.unique(drawn[0][0], dim=0)) == 2
    assert asked == {("row-mixed", 0.7)}
    assert result["settings"]["stratum"] == "row-mixed"
