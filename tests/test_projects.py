"""The page of projects: each begins with a cell that runs as it stands."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch

PAGE = (Path(__file__).resolve().parent.parent / "book" / "projects.md").read_text()
PROJECTS = re.split(r"^## (?=\d+\. )", PAGE, flags=re.M)[1:]


def blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


def test_the_page_holds_ten_projects_with_all_their_parts() -> None:
    titles = [project.partition("\n")[0] for project in PROJECTS]
    assert [int(title.partition(".")[0]) for title in titles] == list(range(1, 11))
    for title, project in zip(titles, PROJECTS, strict=True):
        assert re.search(r" [●○]{3}$", title), title
        for part in ("?**", "*Open, because*", "*A good answer*", "*Read*"):
            assert part in project, (title, part)
        assert len(blocks(project)) == 1, title
        assert max(map(len, blocks(project)[0].splitlines())) <= 88, title


@pytest.mark.parametrize("project", PROJECTS, ids=lambda text: text.partition(" ")[0])
def test_the_first_cell_of_a_project_runs(project: str) -> None:
    (source,) = blocks(project)
    said = io.StringIO()
    with torch.no_grad(), contextlib.redirect_stdout(said):
        exec(compile(source, "first cell", "exec"), {})
    assert said.getvalue().strip()
    assert "nan" not in said.getvalue()
