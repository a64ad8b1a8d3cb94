from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import hifd
import pytest
import torch

from facersa.evaluation.hifd import ORIGINAL, folder_of, predictions
from facersa.evaluation.tables import TablesConfig, measure_tables
from facersa.generator.base import Generator
from facersa.generator.openvino import Renderer
from facersa.judges.look import load_look
from facersa.judges.panel import Panel
from facersa.people import people


@pytest.fixture(scope="module")
def panel() -> Panel:
    return Panel()


def test_hifd_scores_what_is_written(
    generator: Generator, panel: Panel, tmp_path: Path
) -> None:
    """And agrees with the tables: its privacy is (1 - cosine) / 2."""
    names, folder = ["pixelation", "ours, rotation"], tmp_path / "predictions"
    result = measure_tables(
        generator,
        TablesConfig(2, 1, 2, 4, previews=True),
        panel=panel,
        names=names,
        folder=folder,
        progress=False,
    )
    scored = hifd.run_pipeline(
        methods_config=str(folder / "methods.yaml"),
        estimators_config=str(folder / "estimators.yaml"),
        data_dir=str(folder),
        out_dir=str(tmp_path / "scores"),
    )
    of_ours = scored.per_sample_df.query("method == 'ours, rotation'")
    assert set(of_ours["task"]) == {
        *("privacy", "landmark", "macro_exp", "age", "gender")
    }
    for judge in ("train", "heldout", "outside"):
        privacy = of_ours.query("task == 'privacy' and estimator == @judge")["s_k"]
        (row,) = (
            row
            for row in result["systems"]["ours, rotation"]["rows"]
            if (row["property"], row["pair"], row["metric"], row["judge"])
            == ("b", "I~Ie1", "id_raw", judge)
        )
        assert privacy.mean() == pytest.approx((1 - row["mean"]) / 2, abs=1e-4)
    # What was not measured is named and has no files.
    assert not (folder / folder_of("mask")).exists()
    assert set(scored.composite_df["method"]) == set(names)


def test_a_system_without_predictions_is_measured_again(
    generator: Generator, panel: Panel, tmp_path: Path
) -> None:
    file, folder = tmp_path / "tables.json", tmp_path / "predictions"
    how = {"panel": panel, "names": ["pixelation"], "progress": False}
    config = TablesConfig(2, 1, 2, 4, previews=True)
    measure_tables(generator, config, file, **how)
    stored = json.loads(file.read_text())
    stored["systems"]["pixelation"]["rows"][0]["mean"] = 0.125
    file.write_text(json.dumps(stored))
    measure_tables(generator, config, file, folder=folder, **how)
    assert json.loads(file.read_text()) != stored
    assert (folder / ORIGINAL / "face_embedding_outside.json").exists()
    assert (folder / "pixelation" / "gender_look.json").exists()


def test_a_judge_that_found_no_face_says_nothing(
    generator: Generator, panel: Panel
) -> None:
    ws = people(generator, "W", 0.7, 1, 5)
    report = panel.report(next(iter(Renderer(generator).stream(ws))))
    said = predictions(report, load_look())
    assert len(said["landmark", "heldout"]["points"]) == 68
    assert sum(said["macro_exp", "train"]["probs"]) == pytest.approx(1)
    nowhere = torch.full((1, 68, 2), torch.nan)
    blind = replace(report, landmarks=report.landmarks | {"heldout": nowhere})
    assert set(said) - set(predictions(blind, load_look())) == {("landmark", "heldout")}
