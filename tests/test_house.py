"""The rules of the house that a program can check."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "facersa"

# Wings from the ground up, and the files inside each. A file imports only files that
# stand before it here. This is also the order to read them in.
HOUSE = {
    "errors": (),
    "ops": (),
    "files": (),
    "assets": ("downloads", "pickles", "readers", "graphs", "registry"),
    "generator": (
        "base",
        "mobile_stylegan",
        "stylegan2",
        "load",
        "openvino",
        "parts",
        "statistics",
    ),
    "photo": (
        "images",
        "square",
        "faces",
        "blazeface",
        "blend",
        "texture",
        "paste",
        "align",
        "detail",
        "hide",
        "background",
    ),
    "cipher": (
        "password",
        "typed",
        "base",
        "modulation",
        "rotation",
        "steady",
        "ring",
        "steered",
        "catalogue",
        "description",
    ),
    "people": (),
    "judges": (
        "networks",
        "look",
        "heldout",
        "graphs",
        "outside",
        "arcface",
        "bisenet",
        "metrics",
        "calibration",
        "panel",
    ),
    "inversion": ("search", "trunk", "encoder", "e4e", "inverter", "kept"),
    "sealing": (
        "prior",
        "compact",
        "sealed",
        "chunk",
        "watermark",
        "pixels",
        "picture",
    ),
    "painting": (),
    "engine": (),
    "pipeline": (),
    "training": (
        "losses",
        "chains",
        "checkpoints",
        "loop",
        "recipes",
        "augment",
        "preview",
        "compact",
        "critic",
        "directions",
        "distillation",
        "assembly",
        "encoder",
        "mapper",
        "edits",
        "pool",
        "distilled",
        "judge",
        "scratch",
        "rounds",
    ),
    "evaluation": (
        "results",
        "attacks",
        "compare",
        "properties",
        "localisation",
        "judged",
        "verification",
        "inversions",
        "robustness",
        "photographs",
        "distinguishers",
        "guesses",
        "rows",
        "open_codes",
        "crowd",
        "learned",
        "ablation",
        "baselines.base",
        "baselines.pixels",
        "baselines.redrawn",
        "baselines.noised",
        "baselines.turned",
        "baselines.learned",
        "baselines.teach",
        "baselines.catalogue",
        "published",
        "verdicts",
        "hifd",
        "tables",
        "again",
    ),
    "figures": (
        "sheets",
        "display",
        "sliders",
        "player",
        "live",
        "explore",
        "curves",
        "pipeline",
    ),
    "cli": (
        "options",
        "parser",
        "pictures",
        "encrypt",
        "measure",
        "attack",
        "fit",
        "train",
        "demo",
    ),
    "__main__": (),
}
ORDER = [
    f"{wing}.{room}" if room else wing
    for wing, rooms in HOUSE.items()
    for room in rooms or ("",)
]
FILES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
MODULES = [name for name in FILES if not name.endswith("__init__")]
WEIGHTS = (
    ".safetensors",
    ".npz",
    ".npy",
    ".onnx",
    ".pt",
    ".pth",
    ".bin",
    ".dat",
    ".xz",
)
MAX_WEIGHT_BYTES = 30_000_000


def imports_of(source: str) -> Iterator[str]:
    """Names of this package's modules that a module's source imports, lazily or not.

    ``""`` stands for the package itself (its ``__init__``).
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                head, _, rest = alias.name.partition(".")
                if head == "facersa":
                    yield rest
        elif isinstance(node, ast.ImportFrom):
            head, _, rest = (node.module or "").partition(".")
            if node.level:
                yield "a relative import"
            elif head == "facersa":
                for alias in node.names:
                    inner = f"{rest}.{alias.name}".strip(".")
                    yield inner if inner in ORDER or inner in HOUSE else rest


def wrong_imports(name: str, source: str) -> list[str]:
    """What the module ``name`` imports and must not."""
    above = set(ORDER[: ORDER.index(name)])
    return sorted({found for found in imports_of(source) if found not in above})


def wing_of(name: str) -> str:
    """The wing a module is in; a file of the ground floor is its own."""
    return name.partition(".")[0]


def wing_table() -> str:
    """Who imports whom, wing by wing, as CONTRIBUTING.md shows it."""
    imported: dict[str, set[str]] = {wing: set() for wing in HOUSE}
    for name in MODULES:
        found = {wing_of(other) for other in imports_of(FILES[name].read_text())}
        imported[wing_of(name)] |= found - {wing_of(name)}
    rows = ["| wing | imports |", "|---|---|"]
    for wing, others in imported.items():
        listed = ", ".join(f"`{other}`" for other in HOUSE if other in others)
        rows.append(f"| `{wing}` | {listed or '–'} |")
    return "\n".join(rows)


def tracked(*patterns: str) -> list[Path]:
    """Files that git tracks, or would: not the ignored ones."""
    command = ["git", "ls-files", "-z", "-c", "-o", "--exclude-standard", "--"]
    listed = subprocess.run(
        [*command, *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / n for n in listed.split("\0") if n and (ROOT / n).is_file()]


def blocks(text: str) -> list[str]:
    """The fenced blocks of a Markdown text."""
    return [b.strip() for b in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S)]


def test_the_plan_of_the_house_names_every_file_and_no_other() -> None:
    assert sorted(ORDER) == MODULES


@pytest.mark.parametrize("name", MODULES)
def test_a_file_imports_only_files_before_it(name: str) -> None:
    assert wrong_imports(name, FILES[name].read_text()) == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("from facersa.errors import ImageError", []),
        ("from facersa import errors, ops", []),
        ("from facersa.assets import registry", []),
        ("from facersa.assets.registry import fetch", []),
        ("import torch", []),
        ("from facersa.photo.paste import paste", ["photo.paste"]),
        ("from facersa.photo import images, paste", ["photo.paste"]),
        ("def f():\n    import facersa.pipeline as p", ["pipeline"]),
        ("from facersa import judges, ops", ["judges"]),
        ("from facersa import FaceRSA", [""]),
        ("import facersa", [""]),
        ("from .images import load_image", ["a relative import"]),
        ("from facersa.photo.square import crop", ["photo.square"]),
    ],
)
def test_the_import_check_sees_every_form(source: str, wrong: list[str]) -> None:
    assert wrong_imports("photo.square", source) == wrong


def test_contributing_shows_who_imports_whom() -> None:
    assert wing_table() in (ROOT / "CONTRIBUTING.md").read_text(), wing_table()


def test_nothing_is_re_exported() -> None:
    """A wing's own file holds its description and no name."""
    for name, path in FILES.items():
        if name.endswith(".__init__"):
            assert len(ast.parse(path.read_text()).body) == 1, name


def test_tests_mirror_the_package() -> None:
    tests = ROOT / "tests"
    strays = [
        str(path.relative_to(tests))
        for path in tests.glob("*/test_*.py")
        if path.parent.name != "fuzz"  # readers of all wings
        and f"{path.parent.name}.{path.stem.removeprefix('test_')}" not in ORDER
    ]
    assert strays == []


@pytest.mark.parametrize("name", FILES)
def test_every_module_says_what_it_is(name: str) -> None:
    doc = ast.get_docstring(ast.parse(FILES[name].read_text())) or ""
    assert len(doc) > (15 if name.endswith("__init__") else 30)


def test_the_linter_is_content() -> None:
    lint = [sys.executable, "-m", "ruff", "check", "--no-cache", "."]
    result = subprocess.run(lint, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_formatter_would_change_nothing() -> None:
    check = [sys.executable, "-m", "ruff", "format", "--no-cache", "--check", "."]
    result = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow
def test_the_type_checker_is_content() -> None:
    check = [sys.executable, "-m", "mypy"]
    result = subprocess.run(check, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_environment_yml_is_thin_and_has_not_drifted() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    lines = (ROOT / "environment.yml").read_text().splitlines()
    wanted = [line.strip() for line in lines if line.strip().startswith("- ")]
    python = project["requires-python"].removeprefix(">=")
    editable = next(line for line in wanted if line.startswith("- -e"))
    assert wanted == [
        "- conda-forge",
        f"- python={python}",
        "- pip",
        "- pip:",
        editable,
    ]
    match = re.fullmatch(r"- -e \.\[([\w,]+)\]", editable)
    assert match is not None
    assert set(match[1].split(",")) == extras == {"book", "test"}
    assert f"name: {project['name']}" in lines


def test_every_data_file_of_the_package_is_installed() -> None:
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]
    globs = tool["setuptools"]["package-data"]["facersa"]
    data = [p.relative_to(PACKAGE) for p in tracked("facersa") if p.suffix != ".py"]
    assert data
    left_out = [str(p) for p in data if not any(p.match(glob) for glob in globs)]
    assert left_out == []


def test_versions_agree() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## {version}" in (ROOT / "CHANGELOG.md").read_text()


def test_readme_has_two_commands_and_ci_runs_the_second() -> None:
    main_job, *others = blocks((ROOT / "README.md").read_text())
    test_job = next(block for block in others if "pytest" in block)
    assert "\n" not in main_job and "\n" not in test_job
    assert "pip install" in main_job and "facersa demo" in main_job
    assert "pip install" in test_job and "pytest" in test_job
    script = ROOT / ".ci" / "run"
    code = [
        line
        for line in script.read_text().splitlines()
        if line.strip() and not line.startswith("#")
    ]
    assert code[0] == "set -euo pipefail"
    assert code[-1] == test_job
    assert os.access(script, os.X_OK)
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_readme_names_every_command() -> None:
    if importlib.util.find_spec("facersa.__main__") is None:
        if os.environ.get("CI"):
            pytest.fail("facersa/__main__.py is missing: there is no command line")
        pytest.skip("facersa/__main__.py is not written yet")
    shown = subprocess.run(
        [sys.executable, "-m", "facersa", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    listed = shown.partition("\nCommands:\n")[2]
    readme = (ROOT / "README.md").read_text()
    commands = re.findall(r"^  (\w+) ", listed, re.M)
    assert len(commands) >= 8
    missing = [c for c in commands if not re.search(rf"\bfacersa {c}\b", readme)]
    assert missing == []


def test_links_between_the_documents_lead_somewhere() -> None:
    for page in ROOT.glob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_notebook_has_outputs() -> None:
    for path in tracked("*.ipynb"):
        cells = json.loads(path.read_text())["cells"]
        kept = [c for c in cells if c.get("outputs") or c.get("execution_count")]
        assert kept == [], f"{path.name}: clear its outputs before a commit"


def test_tracked_weights_are_small() -> None:
    files = [p for p in tracked("facersa") if p.suffix in WEIGHTS]
    sizes = {p.name: p.stat().st_size for p in files}
    assert sum(sizes.values()) < MAX_WEIGHT_BYTES, sizes


UNPICKLERS = {"pickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
MAY_UNPICKLE = {"assets.pickles"}  # its two readers are restricted, and tested


def unpicklers_in(source: str) -> list[str]:
    """What a module's source uses that can run code from a file, in order."""
    tree, places, wrong = ast.parse(source), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            head = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
            for alias in node.names:
                places[alias.asname or alias.name] = head + alias.name
    wrong += [name for name in places.values() if name.split(".")[0] in UNPICKLERS]
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in UNPICKLERS:
            wrong.append(str(node.value))  # as for importlib.import_module
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            first, dot, rest = called.partition(".")
            called = places.get(first, first) + dot + rest
            given = {k.arg: ast.unparse(k.value) for k in node.keywords}
            loads = called.rpartition(".")[2] == "load" and called != "load"
            torch = loads and called.startswith("torch.")
            numpy = loads and called.startswith("numpy.")
            safe = given.get("weights_only", "True" if not torch else "") == "True"
            safe &= given.get("allow_pickle", "False") == "False"
            safe &= not (numpy and (len(node.args) > 2 or None in given))
            wrong += [] if safe else [called]
    return wrong


@pytest.mark.parametrize("name", FILES)
def test_nothing_in_the_package_unpickles(name: str) -> None:
    found = unpicklers_in(FILES[name].read_text())
    assert bool(found) == (name in MAY_UNPICKLE), found


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("import pickle", ["pickle"]),
        ("import pickle as p\np.Unpickler(file).load()", ["pickle"]),
        ("from pickle import Unpickler as Reader", ["pickle.Unpickler"]),
        ("def f():\n    import dill", ["dill"]),
        ("from joblib import load", ["joblib.load"]),
        ("import marshal, shelve", ["marshal", "shelve"]),
        ("import importlib\nimportlib.import_module('_pickle')", ["_pickle"]),
        ("import torch\ntorch.load(path)", ["torch.load"]),
        ("import torch as t\nt.load(path, weights_only=False)", ["torch.load"]),
        ("from torch import load as read\nread(path)", ["torch.load"]),
        ("import torch\ntorch.load(path, weights_only=flag)", ["torch.load"]),
        ("import torch\ntorch.load(path, **options)", ["torch.load"]),
        ("import torch\ntorch.load(path, weights_only=True)", []),
        ("import numpy as np\nnp.load(path, allow_pickle=True)", ["numpy.load"]),
        ("import numpy as np\nnp.load(path, None, True)", ["numpy.load"]),
        ("import numpy as np\nnp.load(path, **options)", ["numpy.load"]),
        ("from numpy import load\nload(path, allow_pickle=True)", ["numpy.load"]),
        ("import numpy as np\nnp.load(path)", []),
        ("import json\njson.load(file)\nWStatistics.load()", []),
    ],
)
def test_the_check_sees_every_way_to_unpickle(source: str, wrong: list[str]) -> None:
    assert unpicklers_in(source) == wrong
