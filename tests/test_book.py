"""The book: the form of its chapters, its build, and every built page in a browser."""

from __future__ import annotations

import ast
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from book import build, readable
from facersa.assets import registry as assets

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

# What the book holds. A chapter or a figure that goes missing fails here.
PLAYERS = {
    "00a_rsa": ("keys-on-and-off",),
    "00b_gan": ("gan-in-the-plane", "walk"),
    "00c_judges": ("angular-margin", "threshold"),
    "01_quickstart": ("passwords",),
    "02_w_plus": ("truncation", "one-row", "style-mixing"),
    "03_inversion": ("fidelity-to-editability", "guess-and-search"),
    "04_locating": ("row-exchange",),
    "05_converter": ("bits-turned",),
    "06_mapper": ("password-strength",),
    "07_turning": ("clock-of-faces", "pushed-centre", "kept-directions"),
    "08_single_loss": ("single-terms",),
    "09_sequential_loss": ("chain-walk",),
    "10_associated_loss": ("summed-password",),
    "11_training": ("ablation",),
    "12_properties": tuple(f"property-{letter}" for letter in "abcdefgh"),
    "13_hidden": ("accepted-share",),
    "14_others": ("systems", "paper-figures"),
    "15_attacks": ("all-passwords", "mean-of-many"),
    "16_from_pixels": ("pixel-journey",),
    "17_ethics": ("error-by-group",),
    "A1_assembly": ("strength-of-a-ring",),
    "A2_terms": ("pushed-rows",),
    "A3_encoder": ("further-looks",),
}
PAGES = (
    "index",
    "projects",
    "quizzes",
    "teaching",
    "glossary",
    "notation",
    "references",
    "licences",
)
PAGE_BYTES = 4_000_000
MADE_BY_SPHINX = {"genindex", "search"}

PARAMETERS = {"seed", "people", "preset", "device"}
TAGS = {"parameters", "hide-input", "hide-cell", "remove-cell", "remove-stderr"}
OPENING = ("After this chapter you can", "You need", "Time and size")
HEADINGS = ("Exercises", "Limits and misuse", "Summary", "Further reading")
CODE_LINES, CODE_COLUMNS = 12, 78
CELLS, WORDS = 45, 2500  # of a chapter: 45 minutes


# --- The form of a chapter ---------------------------------------------------------


def test_the_toc_holds_every_chapter_and_every_page() -> None:
    toc = yaml.safe_load((ROOT / "book" / "_toc.yml").read_text())
    parts = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    chapters = [f"notebooks/{path.stem}" for path in NOTEBOOKS]
    assert [toc["root"], *parts] == ["index", *chapters, *PAGES[1:]]
    assert [path.stem for path in NOTEBOOKS] == sorted(PLAYERS)
    index = (ROOT / "book" / "index.md").read_text()
    assert re.findall(r"^:link: (.+)$", index, re.M) == chapters


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_has_the_form(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in notebook.cells]
    assert all(re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", one) for one in ids), ids
    opening = notebook.cells[0].source
    assert opening.startswith("# ")
    assert [words for words in OPENING if f"**{words}" not in opening] == []
    prose = "\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")
    found = [h for h in re.findall(r"^## (.+)$", prose, re.M) if h in HEADINGS]
    assert found == list(HEADINGS)
    assert "Predict, move, explain" in prose
    assert re.search(r"^\$\$.*?\$\$ \(eq-[\w-]+\)$", prose, re.M | re.S)
    assert readable.TARGET in prose
    assert len(notebook.cells) <= CELLS
    assert readable.words(prose) <= WORDS


def test_every_question_of_the_quizzes_has_three_answers_and_one_is_right() -> None:
    page = (ROOT / "book" / "quizzes.md").read_text()
    asked = re.split(r"^\{doc\}`Read the chapter <notebooks/(\w+)>`$", page, flags=re.M)
    chapters = [path.stem for path in NOTEBOOKS if not path.stem.startswith("A")]
    assert asked[1::2] == chapters
    for questions in asked[2::2]:
        texts = re.split(r"^\*\*\d\. ", questions, flags=re.M)[1:]
        assert len(texts) >= 2
        for text in texts:
            answers = re.findall(
                r"^:::\{dropdown\} ([abc])\) .+\n\*\*(Right|Wrong)\.\*\* \S", text, re.M
            )
            assert [letter for letter, _ in answers] == ["a", "b", "c"]
            assert [verdict for _, verdict in answers].count("Right") == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_code_of_a_chapter_can_be_read(path: Path) -> None:
    cells = [c for c in nbformat.read(path, 4).cells if c.cell_type == "code"]
    assert cells[0].id == "setup"
    faults = []
    for cell in cells:
        labels = set(build.tags(cell))
        lines = cell.source.splitlines()
        hidden = bool(labels & {"hide-input", "hide-cell", "remove-cell"})
        if labels - TAGS:
            faults.append(f"{cell.id}: unknown tags {labels - TAGS}")
        if max(map(len, lines)) > CODE_COLUMNS:
            faults.append(f"{cell.id}: {max(map(len, lines))} columns")
        if len(lines) > CODE_LINES and not hidden and cell.id != "setup":
            faults.append(f"{cell.id}: {len(lines)} lines")
        folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        if folded != hidden:  # JupyterLab knows no tags
            faults.append(f"{cell.id}: source_hidden must be {hidden}")
        if "plt.show(" in cell.source:
            faults.append(f"{cell.id}: use facersa.figures.display.show")
    assert faults == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_parameters_of_a_chapter(path: Path) -> None:
    notebook = nbformat.read(path, 4)
    assert build.parameter_names(notebook) == PARAMETERS
    (cell,) = [c for c in notebook.cells if "parameters" in build.tags(c)]
    assert all("#" in line for line in cell.source.splitlines())
    assert len(ast.parse(cell.source).body) == len(PARAMETERS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_exercise_has_a_hidden_solution_that_checks_itself(path: Path) -> None:
    cells = nbformat.read(path, 4).cells
    found = []
    for index, cell in enumerate(cells):
        match = re.search(r"^### Exercise (\d+)( [●○]{3})?$", cell.source, re.M)
        if cell.cell_type == "markdown" and match:
            found.append(int(match[1]))
            answer, after = cells[index + 1 : index + 3]
            if answer.id != f"exercise-{match[1]}-answer":  # no cell for the reader's
                after = answer
            assert "hide-cell" in build.tags(after), after.id
            assert "assert" in after.source, after.id
    assert found == list(range(1, len(found) + 1))
    assert 2 <= len(found) <= 4


def test_player_names_are_unique_in_the_book() -> None:
    names = [name for players in PLAYERS.values() for name in players]
    assert len(names) == len(set(names))


def test_equation_labels_are_unique_in_the_book() -> None:
    labels: dict[str, str] = {}
    for path in NOTEBOOKS:
        for label in re.findall(r"\$\$ \((eq-[\w-]+)\)", path.read_text()):
            assert label not in labels, f"{label}: {labels[label]} and {path.stem}"
            labels[label] = path.stem
    assert len(labels) > len(NOTEBOOKS)


def test_the_glossary_is_in_order_and_says_where_a_term_is_taught() -> None:
    page = (ROOT / "book" / "glossary.md").read_text()
    entries = re.findall(r"^\*\*(.+)\*\*\n: ((?:.+\n)+)", page, re.M)
    terms = [term.lower() for term, _ in entries]
    assert len(terms) > 50
    assert terms == sorted(set(terms))
    known = {f"notebooks/{path.stem}" for path in NOTEBOOKS}
    for term, text in entries:
        assert known & set(re.findall(r"\{doc\}`(.+?)`", text)), term


def test_every_licence_is_told() -> None:
    page = (ROOT / "book" / "licences.md").read_text()
    for asset in assets.ASSETS.values():
        package = asset.package
        told = f"{package.name} {package.version}".lower()
        assert told in page.lower()
        rows = [line for line in page.splitlines() if told in line.lower()]
        licence = package.licence.partition(";")[0]
        assert all(licence in row for row in rows), told
    marked = {a.research_only for a in assets.ASSETS.values() if a.research_only}
    assert page.count("| **yes**: ") == len(marked)


def test_no_page_loads_what_names_other_hosts() -> None:
    """Our list of extensions is Jupyter Book's, less two, and has not drifted."""
    from jupyter_book.config import get_default_sphinx_config

    usual = set(get_default_sphinx_config()["extensions"])
    ours = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]
    assert usual - set(ours["extensions"]) == {"sphinx_thebe", "sphinx.ext.intersphinx"}


# --- Cleaning ----------------------------------------------------------------------


def picture(html: str = "") -> Any:
    data = {"image/png": "iVBORw0KGgo="} | ({"text/html": html} if html else {})
    return new_output("display_data", data)


GOOD_PICTURE = '<p><img src="data:," alt="a face"></p>'


@pytest.mark.parametrize(
    ("output", "labels", "wrong"),
    [
        (new_output("stream", name="stdout", text="one"), [], ""),
        (new_output("stream", name="stderr", text="careful"), [], "careful"),
        (new_output("stream", name="stderr", text="x"), ["remove-stderr"], ""),
        (new_output("error", ename="KeyError", evalue="'a'"), [], "KeyError: 'a'"),
        (picture(), [], "without alt text"),
        (picture("<p>no picture</p>"), [], "without alt text"),
        (picture('<img src="data:,">'), [], "without alt text"),
        (picture('<img src="data:," alt=" ">'), [], "without alt text"),
        (picture(GOOD_PICTURE + '<img src="data:," alt="">'), [], "without alt text"),
        (picture(GOOD_PICTURE), [], ""),
        (new_output("display_data", {"image/svg+xml": "<svg/>"}), [], "without alt"),
        (new_output("display_data", {"text/html": "<img>"}), [], "without alt text"),
        (new_output("display_data", {"text/html": "<table></table>"}), [], ""),
        (
            new_output("display_data", {f"{build.GLUED_IMAGE}png": "iVBORw0KGgo="}),
            [],
            "glues a picture",
        ),
    ],
)
def test_what_may_not_be_published(output: Any, labels: list[str], wrong: str) -> None:
    found = list(build.problems(output, labels))
    assert bool(found) == bool(wrong)
    assert wrong in "".join(found)


def executed(*cells: Any) -> Any:
    notebook = new_notebook(cells=list(cells))
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"name": "python3"}, "papermill": {}, "widgets": {"state": {}}}
    )
    for cell in notebook.cells:
        cell.metadata["papermill"] = nbformat.from_dict({"duration": 1})
    return notebook


def test_cleaning_takes_traces_and_bare_widgets_off() -> None:
    widget = {build.WIDGET: {"model_id": "1"}, "text/plain": "IntSlider()"}
    cell = new_code_cell(
        "slider",
        outputs=[
            new_output("display_data", dict(widget)),
            new_output("display_data", widget | {"text/html": GOOD_PICTURE}),
        ],
    )
    notebook = executed(new_markdown_cell("# One"), cell)
    build.clean(notebook, "one")
    assert "papermill" not in json.dumps(notebook)
    assert set(notebook.metadata) == {"kernelspec"}
    (left,) = cell.outputs
    assert set(left.data) == {"text/plain", "text/html"}


def test_links_to_the_pages_of_the_book_work_in_jupyter_and_in_the_book() -> None:
    """No link of a chapter is one that only Sphinx understands."""
    notebook = executed(new_markdown_cell("# One\n\n[Notation](../book/notation.md)"))
    build.clean(notebook, "one")
    assert "[Notation](../notation.md)" in notebook.cells[0].source
    for path in NOTEBOOKS:
        prose = [c.source for c in nbformat.read(path, 4).cells]
        assert "{doc}" not in "\n".join(prose), path.stem
        for target in re.findall(r"\]\(([\w./]+\.(?:ipynb|md))\)", "\n".join(prose)):
            assert (path.parent / target).exists(), (path.stem, target)


def test_numbers_of_a_run_are_written_into_the_chapter_and_run_nothing_again(
    book: build.Book, ran: list[str]
) -> None:
    one, _ = book.sources
    page = nbformat.read(one, 4)
    page.cells.append(new_markdown_cell("It is {glue:text}`x:.2f` long.", id="x"))
    one.write_text(json.dumps(page, indent=1, ensure_ascii=False) + "\n")
    bring(book)
    data = {"application/papermill.record/text/plain": "0.123"}
    scrap = {"name": "x", "mime_prefix": "application/papermill.record/"}
    output = new_output("display_data", data, metadata={"scrapbook": scrap})
    page.cells.insert(0, new_code_cell("glue", outputs=[output]))
    page.metadata["facersa"] = {"stamp": build.stamp(book, one, {})}
    nbformat.write(page, book.page(one))
    build.write_numbers(book, [one])
    text = 'It is <span data-glue="x:.2f">0.12</span> long.'
    assert nbformat.read(one, 4).cells[-1].source == text
    written = one.read_bytes()
    build.write_numbers(book, [one])
    assert one.read_bytes() == written
    assert build.stamp(book, one, {}) == build.read_stamp(book.page(one))
    ran.clear()
    bring(book)
    assert ran == []


def test_cleaning_drops_the_injected_cell_and_shows_its_values() -> None:
    notebook = executed(
        new_code_cell("seed = 0  # of it all", metadata={"tags": ["parameters"]}),
        new_code_cell(
            "# Parameters\nseed = 3\n", metadata={"tags": ["injected-parameters"]}
        ),
        new_code_cell("seed"),
    )
    build.clean(notebook, "one")
    sources = [cell.source for cell in notebook.cells]
    assert sources == ["seed = 0  # of it all\nseed = 3", "seed"]


@pytest.mark.parametrize(
    ("tag", "data", "what"),
    [
        ("hide-cell", {}, "the solution"),
        ("hide-input", {"text/html": '<img alt="x">'}, "the code of the figure"),
        ("hide-input", {"text/markdown": "|a|\n|---|"}, "the code of the table"),
        ("hide-input", {"text/markdown": "a word"}, "the code of the result"),
        ("hide-input", None, "the code of this step"),
    ],
)
def test_a_folded_cell_says_what_it_holds(
    tag: str, data: dict[str, str] | None, what: str
) -> None:
    cell = new_code_cell("assert True", metadata={"tags": [tag]})
    if data is not None:
        cell.outputs = [new_output("display_data", data)]
    build.clean(executed(cell), "one")
    assert cell.metadata.mystnb == {
        "code_prompt_show": f"Show {what}",
        "code_prompt_hide": f"Hide {what}",
    }


def test_cleaning_names_every_fault_and_its_cell() -> None:
    bad = new_output("stream", name="stderr", text="UserWarning: slow")
    notebook = executed(
        new_code_cell("1", id="first", outputs=[bad]),
        new_code_cell("2", id="second", outputs=[picture()]),
    )
    with pytest.raises(build.BuildError, match="(?s)one, cell first.*one, cell second"):
        build.clean(notebook, "one")


# --- What is run again -------------------------------------------------------------


def write_notebook(path: Path, *sources: str) -> None:
    cells = [new_markdown_cell("# A chapter", id="title")]
    cells.append(
        new_code_cell(
            "seed = 0  # of it all", id="parameters", metadata={"tags": ["parameters"]}
        )
    )
    cells += [new_code_cell(s, id=f"cell-{n}") for n, s in enumerate(sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    about = {"kernelspec": kernel, "language_info": {"name": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=about), path)


@pytest.fixture
def book(tmp_path: Path) -> build.Book:
    """A book of two chapters with a package of its own."""
    for folder in ("notebooks", "book/results", "facersa/weights"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "facersa" / "ops.py").write_text("one = 1\n")
    (tmp_path / "facersa" / "weights" / "head.safetensors").write_bytes(b"weights")
    (tmp_path / "book" / "results" / "table.json").write_text("{}")
    for name in ("one", "two"):
        write_notebook(tmp_path / "notebooks" / f"{name}.ipynb", "seed + 1")
    shutil.copyfile(ROOT / "_config.yml", tmp_path / "_config.yml")
    shutil.copyfile(ROOT / "book/references.bib", tmp_path / "book/references.bib")
    shutil.copytree(ROOT / "book/_static", tmp_path / "book/_static")
    (tmp_path / "book/index.md").write_text(
        "# Tiny\n\n{cite:p}`king2009dlib`\n\n```{bibliography}\n```\n"
    )
    (tmp_path / "book/_toc.yml").write_text(
        "format: jb-book\nroot: index\nchapters:\n"
        "  - file: notebooks/one\n  - file: notebooks/two\n"
    )
    return build.Book(tmp_path)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the chapters that ran, in order; no kernel is started."""
    names: list[str] = []

    def run(source: Path, page: Path, parameters: dict[str, Any], new: str) -> None:
        names.append(source.stem)
        if "raise" in source.read_text():
            raise build.BuildError(f"{source.stem}: a cell failed.")
        page.parent.mkdir(exist_ok=True)
        page.write_text(json.dumps({"metadata": {"facersa": {"stamp": new}}}))

    monkeypatch.setattr(build, "run", run)
    return names


def bring(book: build.Book, *names: str, force: bool = False, **given: Any) -> None:
    build.run_all(book, build.chosen(book, names), given, force)


def test_what_is_unchanged_is_not_run_again(book: build.Book, ran: list[str]) -> None:
    bring(book)
    assert ran == ["one", "two"]
    (book.root / "notebooks/one.ipynb").touch()
    cache = book.root / "facersa/__pycache__"
    cache.mkdir()
    (cache / "ops.cpython-311.pyc").write_bytes(b"compiled")
    bring(book)
    assert ran == ["one", "two"]
    bring(book, "two", force=True)
    assert ran == ["one", "two", "two"]


@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ("notebooks/one.ipynb", ["one"]),
        ("facersa/ops.py", ["one", "two"]),
        ("facersa/weights/head.safetensors", ["one", "two"]),
        ("facersa/new.js", ["one", "two"]),
        ("book/results/table.json", ["one", "two"]),
        ("book/results/new.json", ["one", "two"]),
        ("book/index.md", []),
    ],
)
def test_a_change_of_what_a_page_depends_on_runs_it_again(
    book: build.Book, ran: list[str], changed: str, again: list[str]
) -> None:
    bring(book)
    ran.clear()
    with (book.root / changed).open("a") as file:
        file.write("\n")
    bring(book)
    assert ran == again


def test_other_parameters_and_other_versions_run_it_again(
    book: build.Book, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(book)
    bring(book, "one", seed=1)
    assert ran == ["one", "two", "one"]
    bring(book, "one", seed=1)
    assert ran == ["one", "two", "one"]
    bring(book)  # the page of seed 1 is not the default one
    assert ran == ["one", "two", "one", "one"]
    monkeypatch.setattr(build, "lock", lambda: ["torch==0"])
    bring(book)
    assert ran == ["one", "two", "one", "one", "one", "two"]


def test_only_the_named_chapter_runs_and_others_show_their_text(
    book: build.Book, ran: list[str]
) -> None:
    one, two = book.sources
    write_notebook(one, "seed + 1")
    notebook = nbformat.read(one, 4)
    notebook.cells.append(new_markdown_cell("It is {glue:text}`x:.2f` long.", id="x"))
    nbformat.write(notebook, one)
    bring(book, "two", seed=1)
    assert ran == ["two"]
    cells = nbformat.read(book.page(one), 4).cells
    assert cells[0].source == notebook.cells[0].source
    assert "python book/build.py one" in cells[1].source
    assert cells[-1].source == "It is … long."
    notebook.cells[-1].source = 'It is <span data-glue="x:.2f">0.50</span> long.'
    nbformat.write(notebook, one)
    bring(book, "two", seed=1)
    assert nbformat.read(book.page(one), 4).cells[-1].source == "It is 0.50 long."
    assert not any(cell.get("outputs") for cell in cells)
    (book.root / "facersa/ops.py").write_text("one = 2\n")
    bring(book, "two", seed=1)
    assert ran == ["two", "two"]
    bring(book)  # now it is wanted
    assert ran == ["two", "two", "one", "two"]
    bring(book, "two")  # and a page that was run stays
    assert build.read_stamp(book.page(one)) == build.stamp(book, one, {})


def test_a_chapter_that_fails_keeps_no_stamp_and_stops_no_other(
    book: build.Book, ran: list[str]
) -> None:
    write_notebook(book.root / "notebooks/one.ipynb", "raise")
    with pytest.raises(build.BuildError, match="one: a cell failed"):
        bring(book)
    assert ran == ["one", "two"]
    assert not book.page(book.sources[0]).exists()
    with pytest.raises(build.BuildError):
        bring(book)
    assert ran == ["one", "two", "one"]


def test_the_page_of_a_chapter_that_is_gone_goes_too(
    book: build.Book, ran: list[str]
) -> None:
    bring(book)
    source = book.sources[1]
    book.html(source).parent.mkdir(parents=True)
    book.html(source).write_text("")
    source.unlink()
    bring(book)
    assert not book.page(source).exists()
    assert not book.html(source).exists()
    assert book.page(book.sources[0]).exists()


def test_the_lock_is_what_a_page_is_made_with() -> None:
    names = {line.partition("==")[0] for line in build.lock()}
    assert {"python", "torch", "matplotlib", "papermill", "jupyter-book"} <= names
    assert not {"ruff", "pytest", "mypy"} & names
    assert all(line.partition("==")[2] for line in build.lock())


# --- Mistakes ----------------------------------------------------------------------


def test_parameters_are_read_as_python_or_as_words() -> None:
    assert build.parse_parameter("seed=3") == ("seed", 3)
    assert build.parse_parameter("people=[1, 2]") == ("people", [1, 2])
    assert build.parse_parameter("device=cpu") == ("device", "cpu")
    assert build.parse_parameter("preset=a=b") == ("preset", "a=b")


@pytest.mark.parametrize("text", ["seed", "=3", "my seed=3"])
def test_a_malformed_parameter_is_explained(text: str) -> None:
    with pytest.raises(build.BuildError, match="got .*try -p seed=1"):
        build.parse_parameter(text)


def test_an_unknown_chapter_is_answered_with_the_known_ones(book: build.Book) -> None:
    with pytest.raises(build.BuildError, match="choose from one, two"):
        build.chosen(book, ["three"])
    assert [s.stem for s in build.chosen(book, ["t", "one"])] == ["two", "one"]


def test_missing_networks_name_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACERSA_CACHE", str(tmp_path))
    assert build.main([]) == 1
    told = capsys.readouterr().err
    assert "run `facersa fetch` first" in told
    assert "generator.safetensors" in told


def test_the_surroundings_are_left_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("no_proxy", "here")
    monkeypatch.delenv("PIP_NO_INDEX", raising=False)
    before = dict(os.environ)
    with pytest.raises(KeyError), build.surroundings():
        assert os.environ["PIP_NO_INDEX"] == "1" and os.environ["no_proxy"] != "here"
        raise KeyError
    assert dict(os.environ) == before


def test_an_unknown_parameter_is_answered_with_the_known_ones(
    book: build.Book,
) -> None:
    source = book.sources[0]
    with pytest.raises(build.BuildError, match="one has no parameter sed; it has seed"):
        build.run(source, book.page(source), {"sed": 1}, "stamp")


# --- Real kernels and real pages ---------------------------------------------------


@pytest.fixture(scope="session")
def fetched() -> None:
    """Every file that a build needs; the one step that may use the network."""
    assets.fetch_all(progress=False)


START = "import sys; from book import build; from pathlib import Path; "
START += "sys.exit(build.main(sys.argv[2:], Path(sys.argv[1])))"


def run_build(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", START, str(root), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_a_small_book_from_end_to_end(book: build.Book, fetched: None) -> None:
    one, two = book.sources
    write_notebook(
        one,
        "import os, urllib.request\nfrom myst_nb import glue",
        'assert os.environ["FACERSA_PAGE"] == "1"',
        'assert urllib.request.getproxies()["https"].endswith(":9")',
        'assert os.path.basename(os.getcwd()) == "notebooks"',
        'glue("sum", seed + 40, display=False)',
        'print("the seed is", seed)',
    )
    done = run_build(book.root, "-p", "seed=2", "-j", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    times = re.findall(r"^(\w+) +\d+\.\d s$", done.stdout, re.M)
    assert sorted(times) == ["one", "two"]
    html = book.html(one).read_text()
    assert "the seed is 2" in html
    assert "Parameters" not in html
    assert nbformat.read(book.page(one), 4).metadata.facersa.stamp
    download = book.build / "html/_sources/notebooks/one.ipynb"
    assert download.read_bytes() == one.read_bytes()

    again = run_build(book.root, "-p", "seed=2")
    assert again.returncode == 0, again.stderr
    assert re.findall(r"^(\w+) +unchanged$", again.stdout, re.M) == ["one", "two"]

    write_notebook(two, 'raise KeyError("lost")')
    write_notebook(one, "seed + 1")
    failed = run_build(book.root, "-j", "2")
    assert failed.returncode == 1
    assert "two: a cell failed" in failed.stderr
    assert "KeyError" in failed.stderr
    assert build.read_stamp(book.page(one)) == build.stamp(book, one, {})


@pytest.mark.parametrize("jobs", [2, 3])
def test_a_job_keeps_to_its_share_of_the_cores(jobs: int) -> None:
    cores = build.available_cores()
    shares = [cores[job % len(cores) :: jobs] for job in range(jobs)]
    with build.cores_shared(jobs) as pool:
        kept = pool.starmap(build.available_cores, [()] * 2 * jobs, chunksize=1)
    assert kept and all(share in shares for share in kept)


@pytest.mark.slow
def test_a_warning_is_an_error_also_the_second_time(
    book: build.Book, fetched: None
) -> None:
    index = book.root / "book/index.md"
    index.write_text(index.read_text() + "\n{doc}`nowhere`\n")
    for _ in range(2):
        failed = run_build(book.root)
        assert failed.returncode == 1
        assert "nowhere" in failed.stderr


@pytest.fixture(scope="session")
def site(fetched: None) -> Iterator[str]:
    """The address of the whole book, built and served from this machine."""
    done = subprocess.run(
        [sys.executable, "book/build.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        # A worker of pytest keeps to one core; the longest of all tests need not.
        preexec_fn=lambda: os.sched_setaffinity(0, range(os.cpu_count() or 1)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    folder = str(ROOT / "book" / "_build" / "html")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


ADDRESSES = [f"{page}.html" for page in PAGES]
ADDRESSES += [f"notebooks/{chapter}.html" for chapter in PLAYERS]
ADDRESSES += [f"{page}.html" for page in sorted(MADE_BY_SPHINX)]
CHAPTERS = [address for address in ADDRESSES if "/" in address]
every_page = pytest.mark.parametrize("address", ADDRESSES)
every_chapter = pytest.mark.parametrize("address", CHAPTERS)


class Visit:
    """A page in the browser, with all that it asked for and complained of."""

    def __init__(self, context: BrowserContext, site: str, address: str) -> None:
        self.page: Page = context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("requestfailed", lambda r: self.complaints.append(r.url[:200]))
        self.page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        response = self.page.goto(site + address, wait_until="networkidle")
        self.page.wait_for_load_state("load")  # a large page may be idle half-way
        assert response is not None and response.ok

    def other_hosts(self, site: str) -> list[str]:
        known = (site, "data:", "blob:")
        return [url for url in self.asked if not url.startswith(known)]


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    with browser.new_context(viewport={"width": 1280, "height": 900}) as opened:
        yield opened


@pytest.mark.slow
def test_the_pages_are_those_of_the_book(site: str) -> None:
    folder = ROOT / "book" / "_build" / "html"
    built = {p.relative_to(folder).as_posix() for p in folder.rglob("*.html")}
    built = {page for page in built if not page.startswith("_")}
    assert built == set(ADDRESSES)
    sizes = {page: (folder / page).stat().st_size for page in built}
    assert max(sizes.values()) <= PAGE_BYTES, sizes


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_numbers_in_a_chapter_are_those_of_its_page(site: str, path: Path) -> None:
    """To one unit of the last digit: another processor rounds otherwise."""
    written = readable.numbers(nbformat.read(path, 4))
    values = readable.glued(nbformat.read(build.Book(ROOT).page(path), 4))
    old = []
    for name, text in written:
        key, _, form = name.partition(":")
        now = readable.formatted(values[key], form)
        if not as_good_as(text, now):
            old.append(f"{name}: {text} in the chapter, {now} on the page")
    assert old == [], "python book/build.py --numbers writes them"


def as_good_as(text: str, now: str) -> bool:
    """Equal words, or numbers that differ by one unit of the last digit at most."""
    if text == now:
        return True
    try:
        gap = abs(float(text.replace(",", "")) - float(now.replace(",", "")))
    except ValueError:
        return False
    digits = len(text.partition(".")[2])
    return gap < 1.5 * 10.0**-digits and digits == len(now.partition(".")[2])


@pytest.mark.parametrize(
    ("text", "now", "good"),
    [
        ("0.25", "0.25", True),
        ("0.25", "0.26", True),
        ("0.25", "0.27", False),
        ("12", "13", True),
        ("1,024", "1,030", False),
        ("0.2", "0.25", False),
        ("never", "always", False),
    ],
)
def test_how_near_a_number_must_be(text: str, now: str, good: bool) -> None:
    assert as_good_as(text, now) is good


@pytest.mark.slow
@every_page
def test_a_page_opens_without_complaint_or_other_hosts(
    site: str, context: BrowserContext, address: str
) -> None:
    visit = Visit(context, site, address)
    page = visit.page
    # On a busy machine a large page is there before MathJax is.
    page.wait_for_function(
        "!document.querySelector('span.math, div.math') || window.MathJax?.startup"
        "?.promise !== undefined"
    )
    unset = page.evaluate(
        """async () => {
            const found = document.querySelectorAll("span.math, div.math").length;
            if (!found) return [];
            await MathJax.startup.promise;
            const left = [...document.querySelectorAll("span.math, div.math")]
                .filter((one) => !one.querySelector("mjx-container"));
            const wrong = document.querySelectorAll("[data-mjx-error], mjx-merror");
            return [...left, ...wrong].map((one) => one.textContent);
        }"""
    )
    assert unset == []
    too_wide = page.eval_on_selector_all(
        "div.math mjx-container",
        """all => all.filter((one) => one.scrollWidth > one.clientWidth + 1)
            .map((one) => one.textContent)""",
    )
    assert too_wide == []
    pictures = page.eval_on_selector_all(
        "img", "all => all.map((i) => [i.alt.trim(), i.complete && i.naturalWidth > 0])"
    )
    assert all(alt and seen for alt, seen in pictures), pictures
    assert visit.complaints == []
    assert visit.other_hosts(site) == []
    page.set_viewport_size({"width": 375, "height": 812})
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    stretched = page.eval_on_selector_all(
        ".bd-article img",
        """all => all.filter((one) => Math.abs(
            one.clientWidth / one.clientHeight / one.naturalWidth * one.naturalHeight
            - 1) > 0.03).map((one) => one.alt)""",
    )
    assert stretched == []


@pytest.mark.slow
@every_chapter
def test_every_slider_moves_picture_and_number_without_a_kernel(
    site: str, context: BrowserContext, address: str
) -> None:
    visit = Visit(context, site, address)
    page = visit.page
    players = page.locator("figure.facersa-player").all()
    found = [player.get_attribute("id") for player in players]
    wanted = PLAYERS[Path(address).stem]
    assert found == [f"player-{name}" for name in wanted]
    visit.asked.clear()
    for player in players:
        sliders = player.locator("input[type=range]").all()
        menus = player.locator("select").all()
        assert sliders or menus
        for menu in menus:
            seen = []
            for option in menu.locator("option").all_inner_texts():
                menu.select_option(option)
                seen.append(now(player))
            assert len({picture for picture, _ in seen}) > 1, found
            assert len({numbers for _, numbers in seen}) > 1, found
        for slider in sliders:
            seen = [now(player)]
            start, last = int(slider.input_value()), int(slider.get_attribute("max"))
            for key in ["ArrowLeft"] * start + ["ArrowRight"] * last:
                slider.press(key)
                seen.append(now(player))
            assert len({picture for picture, _ in seen}) > 1, found
            assert len({numbers for _, numbers in seen}) > 1, found
            assert int(slider.input_value()) == last
    asked = [url for url in visit.asked if not url.startswith("data:")]
    # A browser fetches the icon of its tab when it likes.
    assert [url for url in asked if not url.endswith("/favicon.svg")] == []
    assert visit.complaints == []


def now(player: Any) -> tuple[str, str]:
    """What a player shows: its picture's address and its numbers."""
    return (
        player.locator("img").get_attribute("src"),
        player.locator("dl").inner_text(),
    )


@pytest.mark.slow
@every_chapter
def test_without_javascript_the_pictures_stay(
    site: str, browser: Browser, address: str
) -> None:
    with browser.new_context(java_script_enabled=False) as plain:
        page = plain.new_page()
        page.goto(site + address)
        players = page.locator("figure.facersa-player").all()
        assert len(players) == len(PLAYERS[Path(address).stem])
        for player in players:
            picture = player.locator("img")
            assert picture.is_visible()
            assert picture.bounding_box()["width"] > 100
            assert player.locator("dl").is_visible()
            assert not player.locator("input, select").first.is_visible()
