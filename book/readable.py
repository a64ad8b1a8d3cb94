"""Numbers and citations that can be read in a notebook that was never run.

Sphinx puts a number or a citation in the place of a role. Jupyter knows no roles, so a
chapter is committed with what Jupyter can show, and the build writes the role back:

=================================================  =============================
in the notebook                                    on its way to the page
=================================================  =============================
``<span data-glue="share:.2f">0.25</span>``        ``{glue:text}`share:.2f```
``([Li et al., 2023](../book/references.bib#li))``  ``{cite:p}`li```
``[Li et al. (2023)](../book/references.bib#li)``   ``{cite:t}`li```
=================================================  =============================

So the page shows the number of its own run, and the notebook that of the last
run, which ``python book/build.py --numbers`` wrote into it. An author may write
the role: the same command turns it into what Jupyter can show.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

REFERENCES = Path(__file__).parent / "references.bib"
TARGET = "../book/references.bib#"
UNKNOWN = "…"  # a number before the first run

# In a notebook's file, quotation marks are escaped: these find both.
NUMBER = re.compile(r'<span data-glue=\\?"([^"\\]+)\\?">([^<]*)</span>')
NUMBER_ROLE = re.compile(r"\{glue:text\}`([^`]+)`")
LINK = rf"\[[^\[\]]+\]\({re.escape(TARGET)}(\w+)\)"
CITED = re.compile(rf"\({LINK}(?:; {LINK})*\)")
NAMED = re.compile(LINK)
CITED_ROLE = re.compile(r"\{cite:([pt])\}`([\w,]+)`")


def for_sphinx(text: str) -> str:
    """Text as Sphinx reads it: numbers and citations are roles."""
    text = NUMBER.sub(r"{glue:text}`\1`", text)
    text = CITED.sub(lambda m: f"{{cite:p}}`{','.join(NAMED.findall(m[0]))}`", text)
    return NAMED.sub(r"{cite:t}`\1`", text)


def for_jupyter(text: str, values: dict[str, str]) -> str:
    """Text as Jupyter shows it, with the values by name; ``UNKNOWN`` where none is.

    Raises:
        KeyError: a citation names no entry of ``references.bib``.
    """
    before = {name: value for name, value in NUMBER.findall(text)}

    def number(match: re.Match[str]) -> str:
        name, _, form = match[1].partition(":")
        value = before.get(match[1], UNKNOWN)
        if name in values:
            value = formatted(values[name], form)
        return f'<span data-glue="{match[1]}">{value}</span>'

    def citation(match: re.Match[str]) -> str:
        links = []
        for key in match[2].split(","):
            names, year = labels()[key]
            label = f"{names}, {year}" if match[1] == "p" else f"{names} ({year})"
            links.append(f"[{label}]({TARGET}{key})")
        if match[1] == "p":
            return f"({'; '.join(links)})"
        return ", ".join(links)

    return CITED_ROLE.sub(citation, NUMBER_ROLE.sub(number, for_sphinx(text)))


def plain(text: str) -> str:
    """Text with its numbers as they stand: the page of a chapter that was not run."""
    text = NUMBER_ROLE.sub(UNKNOWN, text)
    return for_sphinx(NUMBER.sub(lambda match: match[2], text))


def words(text: str) -> int:
    """How many words a reader reads: a number or a citation is one."""
    return len(for_sphinx(text).split())


def formatted(value: str, form: str) -> str:
    """A glued value, as its ``repr``, in the form of its role."""
    from myst_nb.core.variables import format_plain_text

    return str(format_plain_text(value, form))


def glued(notebook: Any) -> dict[str, str]:
    """The ``repr`` of every value that the cells of a notebook have glued."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            scrap = output.get("metadata", {}).get("scrapbook", {})
            if "name" in scrap:
                data = output.data[scrap["mime_prefix"] + "text/plain"]
                found[scrap["name"]] = "".join(data)
    return found


def numbers(notebook: Any) -> list[tuple[str, str]]:
    """The names, with their forms, and the text of all numbers, in order."""
    return [
        found
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for found in NUMBER.findall(cell.source)
    ]


@functools.cache
def labels() -> dict[str, tuple[str, str]]:
    """The names and the year of every entry of ``references.bib``, by its key."""
    from pybtex.database import parse_file

    found = {}
    for key, entry in parse_file(str(REFERENCES)).entries.items():
        people = [
            "".join(str(part) for part in person.rich_last_names)
            for person in entry.persons.get("author", [])
        ]
        if not people:
            people = [entry.fields.get("organization", entry.fields.get("title", key))]
        names = " and ".join(people) if len(people) < 3 else f"{people[0]} et al."
        found[key] = (names, entry.fields["year"])
    return found
