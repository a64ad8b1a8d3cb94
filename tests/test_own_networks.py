"""The whole program on networks of one's own: StyleGAN2, e4e, BiSeNet, ArcFace files.

The files are tiny, in the published formats and with random weights: 18 rows and
1024 x 1024 pixels of nothing. So no face is ever found in what is painted, and what
is tested is that everything runs, fits together and comes back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_checkpoints import save_e4e, save_stylegan2, stylegan2_tensors
from torch import Tensor

from facersa.__main__ import main
from facersa.assets.registry import asset_path
from facersa.cipher.typed import Secrets
from facersa.generator import openvino, statistics
from facersa.inversion.inverter import load_backend
from facersa.inversion.search import project_config
from facersa.judges.bisenet import BiSeNet
from facersa.judges.metrics import psnr
from facersa.photo.images import load_image, save_png
from facersa.pipeline import FaceRSA
from facersa.sealing.chunk import unseal

SECRET = ("--password", "apple")


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module", autouse=True)
def apart(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Statistics and traced networks of these files stay out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "cache_folder", lambda: folder)
        patch.setattr(openvino, "cache_folder", lambda: folder)
        yield folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, astronaut: Tensor) -> Path:
    """The photograph and the files."""
    path = tmp_path_factory.mktemp("files")
    save_png(astronaut, path / "photo.png")
    save_e4e(path / "e4e.pt")
    save_stylegan2(path / "stylegan2.pt")
    torch.save(BiSeNet().state_dict(), path / "bisenet.pth")
    return path


def test_a_photograph_goes_through_an_e4e_file_and_back(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = ("--generator", folder / "e4e.pt", "--bisenet", folder / "bisenet.pth")
    out, back = folder / "out.png", folder / "back.png"
    encrypt = ("encrypt", folder / "photo.png", "-o", out, "--steps", 0)
    assert run(*encrypt, *own, *SECRET) == 0
    sealed = unseal(out.read_bytes())
    assert sealed.shape == (18, 16) and sealed.params["cipher"] == "steady"
    assert run("decrypt", out, "-o", back, *own, *SECRET) == 0
    capfd.readouterr()
    assert run("decrypt", out, "-o", folder / "none.png", *SECRET) == 1
    assert "(18, 16)" in capfd.readouterr().err
    outside = (..., slice(0, 40), slice(0, 60))  # of the square
    photo = load_image(folder / "photo.png")
    assert torch.equal(load_image(back)[outside], photo[outside])


def test_the_right_password_paints_the_inversion_again(
    folder: Path, astronaut: Tensor, apart: Path
) -> None:
    generator, encoder = load_backend(folder / "stylegan2.pt")
    assert encoder is None
    engine = FaceRSA(generator)
    found = engine.invert(astronaut, config=project_config(2), progress=False)
    inverted = engine.renderer.full(found.ws)
    data = engine.encrypt(found, Secrets(("apple",))).data
    right, wrong = (engine.decrypt(data, Secrets((text,))) for text in ("apple", "x"))
    assert psnr(right.face, inverted).item() > 45 > psnr(wrong.face, inverted).item()
    kept = {path.name: path.stat().st_mtime_ns for path in apart.glob("w_stats-*")}
    FaceRSA(generator)
    assert kept == {p.name: p.stat().st_mtime_ns for p in apart.glob("w_stats-*")}


@pytest.mark.slow
def test_rows_are_localised_and_properties_measured(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    table = folder / "table.json"
    own = ("--generator", folder / "e4e.pt", "--json", table)
    assert run("localise", "--people", 1, *own) == 0
    result = json.loads(table.read_text())
    assert {"17", "14-17", "9-17"} <= {row["pair"] for row in result["rows"]}
    printed = capfd.readouterr().out
    assert all(f"{edit} " in printed for edit in result["edits"])
    arcface = ("--arcface", asset_path("identity.onnx"))
    assert run("evaluate", "--n", 2, *own, *arcface) == 0
    result = json.loads(table.read_text())
    errors = [
        row["mean"]
        for row in result["rows"]
        if row["metric"] == "w_error" and row["property"] in "cfgh"
    ]
    assert len(errors) == 15 and max(errors) < 1e-3


@pytest.mark.slow
def test_a_cipher_is_trained_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "SAMPLES_PER_ENTRY", 8)
    tensors = stylegan2_tensors((4,) * 9, w_dim=512, layers=1)
    torch.save({"g_ema": tensors}, tmp_path / "wide.pt")
    own = ("--generator", tmp_path / "wide.pt", "-o", tmp_path / "run")
    assert run("train", "mapper", "--preset", "smoke", *own) == 0
    card = json.loads((tmp_path / "run" / "mapper_ring.json").read_text())
    assert card["steps_done"] == 6
