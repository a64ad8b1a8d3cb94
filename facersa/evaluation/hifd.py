"""What the judges said of each picture, in the files that the package ``hifd`` reads.

HiFD (PyPI ``hifd``) puts a number on de-identification from predictions that others
made: a file for each network and each system, with one entry a picture. With these
files others can compare their systems with the ones here, or score them by other rules.

Its quality needs NIQE, which is not had here, and its gaze needs a direction in space,
where the judge here gives the place of the iris: both are left out, not replaced.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from facersa.files import write_atomic
from facersa.judges.look import LookJudge
from facersa.judges.panel import FAMILIES, Report

SCHEMA = "1.0"
ORIGINAL = "original"  # the folder of the plain pictures
CLASSES = [str(index) for index in range(7)]  # of expression, as the networks count
LEFT_EYE, RIGHT_EYE = slice(42, 48), slice(36, 42)  # of the person, in 68 landmarks
Predictions = dict[tuple[str, str], Any]  # by task and estimator


def predictions(report: Report, look: LookJudge) -> Predictions:
    """What is written of one picture; nothing by a judge that found no face.

    Args:
        report: of the picture.
        look: tells age and gender. The cipher ``steady`` keeps directions that it gave.
    """
    said: Predictions = {}
    for judge, embedding in report.identity.items():
        if embedding.isfinite().all():
            said["face_embedding", judge] = {"embedding": embedding.tolist()}
    for family in FAMILIES:
        points = report.landmarks[family][0]
        if points.isfinite().all():
            said["landmark", family] = {
                "points": points.tolist(),
                "left_eye_center": points[LEFT_EYE].mean(0).tolist(),
                "right_eye_center": points[RIGHT_EYE].mean(0).tolist(),
            }
    for judge, logits in (
        ("train", report.expression),
        ("outside", report.expression_outside),
    ):
        if logits.isfinite().all():
            said["macro_exp", judge] = {"probs": logits.double().softmax(0).tolist()}
    if said:
        person = look.look(report.picture)
        male = float(person.male.double().sigmoid())
        said["age", "look"] = {"value": float(person.age)}
        said["gender", "look"] = {"probs": [1 - male, male]}
    return said


def write_predictions(
    folder: Path, system: str, pictures: Mapping[str, Predictions]
) -> None:
    """Write the files of one system, or of the plain pictures (``ORIGINAL``).

    Args:
        folder: of all systems.
        system: its name; its files are in a folder of that name.
        pictures: by a name that is the same for a plain picture and its encrypted one.
    """
    files: dict[tuple[str, str], dict[str, Any]] = {}
    for name, said in pictures.items():
        for key, prediction in said.items():
            files.setdefault(key, {})[name] = prediction
    place = folder / folder_of(system)
    part = place.with_suffix(".part")  # a folder that is there is whole
    for old in (place, part):
        shutil.rmtree(old, ignore_errors=True)
    part.mkdir(parents=True)
    for (task, estimator), found in files.items():
        envelope: dict[str, Any] = {
            "task": task,
            "source": "original" if system == ORIGINAL else "deid",
            "estimator": estimator,
            "schema_version": SCHEMA,
            "predictions": found,
        }
        if task == "macro_exp":
            envelope["class_names"] = CLASSES
        if task == "gender":
            envelope["class_names"] = ["female", "male"]
        _write(part / _file(task, estimator), envelope)
    part.rename(place)


def write_index(folder: Path, systems: list[str], said: Predictions) -> None:
    """Write the two files that name all others, for ``hifd run-all``.

    They are JSON, which is YAML too.

    Args:
        folder: of ``write_predictions``.
        systems: names, without the plain pictures.
        said: of one picture: which estimators there are.
    """
    methods = [{"name": name, "base_path": folder_of(name)} for name in systems]
    _write(
        folder / "methods.yaml",
        {"original": {"base_path": ORIGINAL}, "methods": methods},
    )
    tasks: dict[str, Any] = {}
    for task, estimator in said:
        file = _file(task, estimator)
        tasks.setdefault(task, {"estimators": []})["estimators"].append(
            {"name": estimator, "orig_json": file, "deid_json": file}
        )
    _write(folder / "estimators.yaml", {"tasks": tasks})


def folder_of(system: str) -> str:
    """The folder of a system's files: "ours, steady" is in ``ours_steady``."""
    return system.replace(", ", "_").replace(" ", "_")


def _file(task: str, estimator: str) -> str:
    return f"{task}_{estimator}.json"


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_atomic(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
