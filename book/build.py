"""Build the published page: ``python book/build.py [NAME ...] [-p NAME=VALUE]``.

Each notebook of ``notebooks/`` is run by papermill, offline and on a clean kernel. The
result is checked, cleaned and stored in ``book/notebooks/``. Jupyter Book turns these
and the pages beside this file into ``book/_build/html``; a warning is an error. A
notebook runs again only if something it depends on has changed: itself, its parameters,
the package with its weights, ``book/results``, this file, or an installed version.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import multiprocessing
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from html.parser import HTMLParser
from importlib import metadata
from multiprocessing.pool import Pool
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any

import nbformat
import psutil
from filelock import FileLock
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":  # run as a file, it knows its folder only
    sys.path.insert(0, str(ROOT))

from book import readable  # noqa: E402

MATHJAX = "mathjax/tex-svg-full.js"  # below _static, as in _config.yml
CELL_SECONDS = 1200
CHAPTER_BYTES = 3 * 2**30  # of memory, at most
WIDGET = "application/vnd.jupyter.widget-view+json"
GLUED_IMAGE = "application/papermill.record/image/"
SOLUTION = "the solution"
NOT_RUN = """:::{{note}}
This chapter was not run yet: no pictures, and the numbers in the text are of an earlier
run. Run it with `python book/build.py {name}`.
:::"""
NOWHERE = "http://127.0.0.1:9"  # the discard port: a proxy that refuses
# Environment variables of a kernel: players instead of widgets, no network, and memory
# that is kept.
SURROUNDINGS = {
    "FACERSA_PAGE": "1",
    "PIP_NO_INDEX": "1",
    "npm_config_offline": "true",
    "no_proxy": "localhost,127.0.0.1",
    # glibc gives large blocks back at once and asks for them again: a fifth of the time
    # of a search. These, in bytes, make it keep them.
    "MALLOC_MMAP_THRESHOLD_": str(2**26),
    "MALLOC_TRIM_THRESHOLD_": str(2**29),
} | {
    name: NOWHERE
    for kind in ("http_proxy", "https_proxy", "all_proxy")
    for name in (kind, kind.upper())
}


class BuildError(Exception):
    """The page cannot be built."""


@dataclass(frozen=True)
class Book:
    """Paths of the book, below one root."""

    root: Path

    @property
    def sources(self) -> list[Path]:
        """The chapters as written, in reading order."""
        return sorted((self.root / "notebooks").glob("*.ipynb"))

    @property
    def build(self) -> Path:
        """Jupyter Book's folder."""
        return self.root / "book" / "_build"

    def page(self, source: Path) -> Path:
        """The chapter as run."""
        return self.root / "book" / "notebooks" / source.name

    def html(self, source: Path) -> Path:
        """The chapter as published."""
        return self.build / "html" / "notebooks" / f"{source.stem}.html"


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Build the page; 0, or 1 after an error message on standard error."""
    parser = argparse.ArgumentParser(
        prog="book/build.py", description="Build the book."
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="chapters to bring up to date (02 or 02_w_plus); the others are left as "
        "they are, and those never run are shown without results",
    )
    parser.add_argument(
        "--force", action="store_true", help="run again what is current"
    )
    parser.add_argument(
        "--numbers",
        action="store_true",
        help="write the numbers of the run, and readable citations, into notebooks/",
    )
    parser.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="set a parameter of every chapter that runs, such as seed=1",
    )
    parser.add_argument(
        "-j",
        "--jobs",
        type=int,
        metavar="N",
        help="run so many chapters at a time; by default one for each core, as far as "
        "memory goes",
    )
    options = parser.parse_args(arguments)
    book, start = Book(root), time.monotonic()
    try:
        require_assets()
        parameters = dict(map(parse_parameter, options.parameters))
        selected = chosen(book, options.names)
        book.build.mkdir(parents=True, exist_ok=True)
        # A second build waits for the first.
        with FileLock(book.build / ".lock"), surroundings():
            jobs = options.jobs or default_jobs()
            run_all(book, selected, parameters, options.force, jobs)
            if options.numbers:
                write_numbers(book, selected)
            typeset(book)
    except BuildError as error:
        print(f"book/build.py: {error}", file=sys.stderr)
        return 1
    for source in book.sources:
        size = book.html(source).stat().st_size / 1e6
        print(f"{source.stem:<20} {size:.2f} MB")
    print(
        f"built in {time.monotonic() - start:.0f} s: {book.build / 'html/index.html'}"
    )
    return 0


@contextmanager
def surroundings() -> Iterator[None]:
    """Set ``SURROUNDINGS`` for every process started inside the ``with`` block."""
    before = {name: os.environ.get(name) for name in SURROUNDINGS}
    os.environ.update(SURROUNDINGS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def require_assets() -> None:
    """Raise ``BuildError`` unless every pretrained file is in the cache."""
    from facersa.assets.registry import ASSETS, cache_folder

    missing = [name for name in ASSETS if not (cache_folder() / name).exists()]
    if missing:
        raise BuildError(
            f"{', '.join(missing)} not found in {cache_folder()}, and the build uses "
            "no network; run `facersa fetch` first."
        )


def parse_parameter(text: str) -> tuple[str, Any]:
    """``seed=3`` to ("seed", 3); a value that is not a Python literal is a string."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise BuildError(f"expected -p NAME=VALUE, got {text!r}; try -p seed=1.")
    try:
        return name, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return name, value


def chosen(book: Book, names: Sequence[str]) -> list[Path]:
    """The sources whose stems begin with the names; all without a name."""
    if not names:
        return book.sources
    sources = []
    for name in names:
        matches = [s for s in book.sources if s.stem.startswith(name)]
        if len(matches) != 1:
            known = ", ".join(source.stem for source in book.sources)
            raise BuildError(
                f"expected the beginning of one chapter's name, got {name!r}; choose "
                f"from {known}."
            )
        sources += matches
    return sources


def run_all(
    book: Book,
    selected: Sequence[Path],
    parameters: dict[str, Any],
    force: bool,
    jobs: int = 1,
) -> None:
    """Run the selected chapters that are not current; show the text of the others.

    As many at a time as there are ``jobs``.
    """
    sweep(book)
    due = []
    for source in book.sources:
        page, new = book.page(source), stamp(book, source, parameters)
        if source not in selected:
            was_run = page.exists() and read_stamp(page)
            if not was_run:
                write_text_only(source, page)
            state = "left as it is" if was_run else "not run: text only"
            print(f"{source.stem:<20} {state}")
        elif page.exists() and read_stamp(page) == new and not force:
            print(f"{source.stem:<20} unchanged")
        else:
            due.append((source, page, parameters, new))
    jobs = min(jobs, len(due))
    wrong = []
    with cores_shared(jobs) if jobs > 1 else nullcontext(None) as pool:
        for outcome in pool.imap_unordered(timed, due) if pool else map(timed, due):
            if isinstance(outcome, BuildError):
                wrong.append(str(outcome))
            else:
                print(outcome, flush=True)
    if wrong:
        raise BuildError("\n".join(wrong))


def timed(chapter: tuple[Path, Path, dict[str, Any], str]) -> str | BuildError:
    """Run a chapter; what to print of it, or what is wrong."""
    source, *_ = chapter
    print(f"{source.stem:<20} running ...", flush=True)
    start = time.monotonic()
    try:
        run(*chapter)
    except BuildError as error:
        return error
    return f"{source.stem:<20} {time.monotonic() - start:.1f} s"


def cores_shared(jobs: int) -> Pool:
    """So many processes, each on cores of its own: threads that share one wait."""
    context = multiprocessing.get_context("spawn")
    shares = context.SimpleQueue()
    cores = available_cores()
    for job in range(jobs):
        shares.put(cores[job % len(cores) :: jobs])
    return context.Pool(jobs, keep_to, (shares,))


def keep_to(shares: SimpleQueue[list[int]]) -> None:
    """Run this process and its kernels on the next share of cores."""
    share = shares.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, share)


def available_cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def default_jobs() -> int:
    """A chapter for each core, as far as memory goes."""
    room = psutil.virtual_memory().available // CHAPTER_BYTES
    return max(1, min(len(available_cores()), room))


def write_text_only(source: Path, page: Path) -> None:
    """Write the page of a chapter that was never run: its text, and a note.

    Other chapters refer to its equations. It has no stamp, so the next build without
    names runs it.
    """
    notebook = nbformat.read(source, 4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = in_the_book(readable.plain(cell.source))
    note = NOT_RUN.format(name=source.stem)
    notebook.cells.insert(1, nbformat.v4.new_markdown_cell(note, id="not-run"))
    page.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, page)


def write_numbers(book: Book, selected: Sequence[Path]) -> None:
    """Write into the chapters what their pages measured; the stamps stay good."""
    from facersa.files import write_atomic

    for source in selected:
        page, values = book.page(source), {}
        if page.exists():
            values = readable.glued(nbformat.read(page, 4))
        notebook = json.loads(source.read_text())
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                text = "".join(cell["source"])
                cell["source"] = readable.for_jupyter(text, values)
        text = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
        if text != source.read_text():
            write_atomic(source, text.encode())
            print(f"{source.stem:<20} numbers written")


def sweep(book: Book) -> None:
    """Remove pages whose notebook no longer exists."""
    names = {source.name for source in book.sources}
    for page in (book.root / "book" / "notebooks").glob("*.ipynb"):
        if page.name not in names:
            page.unlink()
            book.html(page).unlink(missing_ok=True)


def stamp(book: Book, source: Path, parameters: dict[str, Any]) -> str:
    """The sha256 of everything that the page depends on.

    Of a chapter, its text as Sphinx reads it: a number that was written into it is a
    result, and runs nothing again.
    """
    package = (path for path in (book.root / "facersa").rglob("*") if path.is_file())
    digest = hashlib.sha256(readable.for_sphinx(source.read_text()).encode())
    files = [
        Path(__file__),
        Path(readable.__file__),
        *sorted((book.root / "book/results").glob("*.json")),
    ]
    files += sorted(path for path in package if "__pycache__" not in path.parts)
    for path in files:
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        digest.update(f"{path.name} {content}\n".encode())
    digest.update(json.dumps([sorted(parameters.items()), lock()]).encode())
    return digest.hexdigest()


def lock() -> list[str]:
    """Python and every distribution that the package and its book extra ask for."""
    try:
        asked = [Requirement(text) for text in metadata.requires("facersa") or []]
        names = {
            one.name
            for one in asked
            if one.marker is None or one.marker.evaluate({"extra": "book"})
        }
        versions = [f"{name}=={metadata.version(name)}" for name in sorted(names)]
    except metadata.PackageNotFoundError as error:
        raise BuildError(f"{error}; pip install -e '.[book]'.") from error
    return [f"python=={platform.python_version()}", *versions]


def read_stamp(page: Path) -> str:
    """The stamp in a page, or "" where there is none."""
    try:
        return str(json.loads(page.read_text())["metadata"]["facersa"]["stamp"])
    except (ValueError, KeyError, TypeError):
        return ""


def run(source: Path, page: Path, parameters: dict[str, Any], new: str) -> None:
    """Run one notebook and write its page, with its stamp, in one step.

    Raises:
        BuildError: a cell failed, or the result is not fit for a page.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    from facersa.files import write_atomic

    known = parameter_names(nbformat.read(source, 4))
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise BuildError(
            f"{source.stem} has no parameter {', '.join(unknown)}; it has "
            f"{', '.join(sorted(known)) or 'none'}."
        )
    with tempfile.TemporaryDirectory() as work:
        output = Path(work) / source.name
        try:
            papermill.execute_notebook(
                str(source),
                str(output),
                parameters=parameters,
                kernel_name="python3",
                cwd=str(source.parent),
                progress_bar=False,
                start_timeout=120,
                execution_timeout=CELL_SECONDS,
                extra_arguments=["--IPKernelApp.log_level=50"],  # quiet
            )
        except papermill.PapermillExecutionError as error:
            trace = "\n".join(error.traceback)
            raise BuildError(f"{source.stem}: a cell failed.\n{trace}") from error
        except (CellTimeoutError, DeadKernelError) as error:
            raise BuildError(
                f"{source.stem}: {error} A cell may take {CELL_SECONDS} s, and a "
                "kernel may die if memory is short."
            ) from error
        notebook = nbformat.read(output, 4)
    clean(notebook, source.stem)
    notebook.metadata["facersa"] = {"stamp": new}
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(page, nbformat.writes(notebook).encode())


def tags(cell: Any) -> list[str]:
    """A cell's tags."""
    return list(cell.metadata.get("tags", []))


def parameter_names(notebook: Any) -> set[str]:
    """The names that the cell tagged "parameters" sets."""
    cells = [cell.source for cell in notebook.cells if "parameters" in tags(cell)]
    return {
        target.id
        for source in cells
        for node in ast.parse(source).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def clean(notebook: Any, name: str) -> None:
    """Remove what papermill and widgets left in a notebook that has run, in place.

    Raises:
        BuildError: an output must not be published: an error, a warning in a cell
            without the tag "remove-stderr", a picture without alternative text.
    """
    for keep in (notebook, *notebook.cells):
        for trace in ("papermill", "widgets", "execution"):
            keep.metadata.pop(trace, None)
    injected = [c for c in notebook.cells if "injected-parameters" in tags(c)]
    notebook.cells = [c for c in notebook.cells if c not in injected]
    for cell in notebook.cells:
        if "parameters" in tags(cell):  # the page shows the values it ran with
            changes = [one.source.partition("\n")[2].strip() for one in injected]
            cell.source = "\n".join([cell.source, *changes])
    wrong = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            cell.source = in_the_book(cell.source)
            continue
        cell.outputs = [o for o in cell.outputs if not is_bare_widget(o)]
        if {"hide-cell", "hide-input"} & set(tags(cell)):
            what = SOLUTION if "hide-cell" in tags(cell) else folded(cell)
            cell.metadata["mystnb"] = {
                f"code_prompt_{verb}": f"{verb} {what}".capitalize()
                for verb in ("show", "hide")
            }
        wrong += [
            f"{name}, cell {cell.id}: {problem}"
            for output in cell.outputs
            for problem in problems(output, tags(cell))
        ]
    if wrong:
        raise BuildError("\n".join(wrong))


def in_the_book(text: str) -> str:
    """Text of a chapter for its page: with roles, and links from the book's folder."""
    return readable.for_sphinx(text).replace("](../book/", "](../")


def folded(cell: Any) -> str:
    """What the folded source of a cell is the code of: what a reader sees under it."""
    shown = [output.get("data", {}) for output in cell.outputs]
    if any("<img" in "".join(data.get("text/html", "")) for data in shown):
        return "the code of the figure"
    if any("|---" in "".join(data.get("text/markdown", "")) for data in shown):
        return "the code of the table"
    return "the code of the result" if cell.outputs else "the code of this step"


def is_bare_widget(output: Any) -> bool:
    """Remove the widget from an output; True if a page can show nothing else of it."""
    data = output.get("data", {})
    return data.pop(WIDGET, None) is not None and set(data) <= {"text/plain"}


def problems(output: Any, labels: Sequence[str]) -> Iterator[str]:
    """Reasons why an output of a cell with these tags must not be published."""
    if output.output_type == "error":
        yield f"{output.ename}: {output.evalue}"
    if output.get("name") == "stderr" and "remove-stderr" not in labels:
        yield f"writes to standard error: {output.text.strip()[:200]!r}"
    data = output.get("data", {})
    alts = alternatives(data.get("text/html", ""))
    if not all(alts) or (any(kind.startswith("image/") for kind in data) and not alts):
        yield "a picture without alt text; display it with facersa.figures.display.show"
    if any(kind.startswith(GLUED_IMAGE) for kind in data):
        yield "glues a picture, which has no alt text; glue words and numbers only"


def alternatives(html: str | Sequence[str]) -> list[str]:
    """The alternative text of every ``<img>``, "" where it has none."""
    texts: list[str] = []

    class Images(HTMLParser):
        def handle_starttag(
            self, tag: str, attrs: list[tuple[str, str | None]]
        ) -> None:
            if tag == "img":
                texts.append((dict(attrs).get("alt") or "").strip())

    Images().feed("".join(html))
    return texts


def typeset(book: Book) -> None:
    """Make the HTML with Jupyter Book, with a local MathJax for the formulas.

    Raises:
        BuildError: there was an error or a warning.
    """
    from facersa.assets.registry import asset_path

    static = book.build / "html" / "_static"
    (static / MATHJAX).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(asset_path("mathjax.js", progress=False), static / MATHJAX)
    start = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-c", start, "build", str(book.root / "book")]
    command += ["--path-output", str(book.root / "book")]
    command += ["--config", str(book.root / "_config.yml")]
    command += ["-W", "-n", "--keep-going", "-q"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        # Sphinx says each warning once: forget what it read, or the next build passes.
        shutil.rmtree(book.build / ".doctrees", ignore_errors=True)
        raise BuildError(
            "Jupyter Book reports a warning or an error; correct the page it names:\n"
            + (result.stderr.strip() or result.stdout.strip())
        )
    for source in book.sources:  # what the download button gives: the chapter unrun
        shutil.copyfile(source, book.build / "html/_sources/notebooks" / source.name)


if __name__ == "__main__":
    sys.exit(main())
