"""Numbers and citations that Jupyter can show."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from book import readable

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
ROLES = (
    "Ids are {glue:text}`id-a:.2f` and {glue:text}`id-b`, see {cite:t}`hoerl1970ridge` "
    "{cite:p}`zhang2024facersa,cho2009kernel` (and [a chapter](one.ipynb))."
)
SHOWN = (
    'Ids are <span data-glue="id-a:.2f">0.12</span> and '
    '<span data-glue="id-b">many</span>, see '
    "[Hoerl and Kennard (1970)](../book/references.bib#hoerl1970ridge) "
    "([Zhang et al., 2024](../book/references.bib#zhang2024facersa); "
    "[Cho and Saul, 2009](../book/references.bib#cho2009kernel)) "
    "(and [a chapter](one.ipynb))."
)
VALUES = {"id-a": "0.123", "id-b": "'many'"}


def test_roles_become_what_jupyter_can_show_and_come_back() -> None:
    assert readable.for_jupyter(ROLES, VALUES) == SHOWN
    assert readable.for_jupyter(SHOWN, VALUES) == SHOWN
    assert readable.for_sphinx(SHOWN) == ROLES
    assert readable.for_sphinx(ROLES) == ROLES


def test_a_number_without_a_value_keeps_its_text() -> None:
    assert readable.for_jupyter(SHOWN, {}) == SHOWN
    assert readable.for_jupyter(ROLES, {}).count(readable.UNKNOWN) == 2
    assert readable.plain(SHOWN).startswith("Ids are 0.12 and many, see {cite:t}")
    assert readable.plain(ROLES).startswith("Ids are … and …, see {cite:t}")


def test_a_citation_of_nothing_is_an_error() -> None:
    with pytest.raises(KeyError, match="nobody2020"):
        readable.for_jupyter("{cite:p}`nobody2020`", {})


def test_a_chapter_and_its_roles_are_the_same_file_to_the_build() -> None:
    first, second = (
        json.dumps({"source": text}, ensure_ascii=False) for text in (ROLES, SHOWN)
    )
    assert readable.for_sphinx(second) == first


def test_a_number_and_a_citation_are_one_word() -> None:
    assert readable.words(SHOWN) == readable.words(ROLES) == len(ROLES.split())


def test_glued_values_are_found() -> None:
    scrap = {"name": "id-a", "mime_prefix": "application/papermill.record/"}
    output = new_output(
        "display_data",
        {"application/papermill.record/text/plain": "0.123"},
        metadata={"scrapbook": scrap},
    )
    other = new_output("stream", name="stdout", text="one")
    notebook = new_notebook(
        cells=[new_code_cell("1", outputs=[other, output]), new_markdown_cell(SHOWN)]
    )
    assert readable.glued(notebook) == {"id-a": "0.123"}
    assert readable.numbers(notebook) == [("id-a:.2f", "0.12"), ("id-b", "many")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_chapter_can_be_read_in_jupyter(path: Path) -> None:
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type != "markdown":
            continue
        assert re.findall(r"\{(?:glue|cite)[^}]*\}", cell.source) == [], cell.id
        assert readable.UNKNOWN not in [
            text for _, text in readable.NUMBER.findall(cell.source)
        ], cell.id
        # The labels of citations are those of the bibliography, and no tag is broken.
        assert readable.for_jupyter(cell.source, {}) == cell.source
        rest = readable.NUMBER.sub("", cell.source)
        assert "data-glue" not in rest and "<span" not in rest, cell.id
        assert readable.TARGET not in readable.for_sphinx(cell.source), cell.id
