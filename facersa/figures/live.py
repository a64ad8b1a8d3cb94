"""Live figures: widgets that never fall behind the slider.

A slider's observer only stores the latest setting. One thread answers it with the
quick picture, another follows with the full one once the slider rests; settings in
between are never computed. A thread ends when it has nothing left to do.
"""

from __future__ import annotations

import atexit
import html
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from facersa.errors import ExploreError, FaceRSAError
from facersa.figures.display import img
from facersa.figures.player import Still, numbers_list, packaged
from facersa.figures.sliders import Control, Setting

T = TypeVar("T")
REST = 0.3  # seconds without a move, until the full picture is computed
QUICK_FRAMES, FULL_FRAMES = 512, 128  # frames in memory: about 15 MB each
_lanes: weakref.WeakSet[Latest[Any]] = weakref.WeakSet()


class Latest(Generic[T]):
    """A slot for the latest item, and at most one thread that works on it.

    Args:
        work: called in the thread; an item that was replaced never reaches it.
        rest: seconds without a newer item after which the work begins.
    """

    def __init__(self, work: Callable[[T], None], rest: float = 0) -> None:
        self._work, self._rest = work, rest
        self._changed = threading.Condition()
        self._slot: list[T] = []
        self._thread: threading.Thread | None = None
        self.closed = False
        _lanes.add(self)

    def put(self, item: T) -> None:
        """Store the item in place of an older one; start the thread if none runs."""
        with self._changed:
            if self.closed:
                return
            self._slot[:] = [item]
            self._changed.notify_all()
            if not self._busy():
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def clear(self) -> None:
        """Drop the waiting item; one in work is finished."""
        with self._changed:
            self._slot.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """Drop the waiting item and ignore all later ones."""
        self.closed = True
        self.clear()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the work is done; False if ``timeout`` seconds were too few."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._busy(), timeout)

    def _run(self) -> None:
        while True:
            with self._changed:
                while self._slot and self._rest and self._changed.wait(self._rest):
                    pass  # a newer item, or the end: begin to wait again
                if not self._slot:
                    self._thread = None
                    self._changed.notify_all()
                    return
                item = self._slot.pop()
            self._work(item)

    def _busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()


@atexit.register
def _finish() -> None:
    """No thread may be inside a network when the interpreter exits."""
    lanes = list(_lanes)
    for lane in lanes:
        lane.close()
    for lane in lanes:
        lane.join(timeout=10)


class _Recent:
    """A function of settings that remembers its latest ``limit`` results."""

    def __init__(self, compute: Callable[[Setting], Still], limit: int) -> None:
        self._compute, self._limit = compute, limit
        self._stills: dict[Setting, Still] = {}
        self._lock = threading.Lock()

    def __contains__(self, setting: Setting) -> bool:
        return setting in self._stills

    def __call__(self, setting: Setting) -> Still:
        with self._lock:
            still = self._stills.pop(setting, None)
        still = still or self._compute(setting)
        with self._lock:
            self._stills[setting] = still  # the latest is the last
            if len(self._stills) > self._limit:
                del self._stills[next(iter(self._stills))]
        return still


class Live:
    """Sliders, picture and numbers as one widget.

    Args:
        controls: the sliders.
        quick: a setting to its fast still; None if there is only ``full``.
        full: a setting to its exact still.
        first: the still of the starting setting, from ``quick`` if that is given.
        width: of the picture in CSS pixels.
    """

    def __init__(
        self,
        controls: Sequence[Control],
        quick: Callable[[Setting], Still] | None,
        full: Callable[[Setting], Still],
        first: Still,
        width: int,
    ) -> None:
        widgets = _ipywidgets()
        self._width = width
        self._full = _Recent(full, FULL_FRAMES)
        self._quick = None if quick is None else _Recent(quick, QUICK_FRAMES)
        self._hand = Latest(self._answer)
        self._rest = Latest(self._refine, REST)
        self._one = threading.Lock()  # one thread at a time stores or draws a setting
        self._last = first
        self.view = widgets.HTML(self._page(exact=quick is None))
        self.sliders = [
            (widgets.Dropdown if control.menu else widgets.SelectionSlider)(
                options=[(value, index) for index, value in enumerate(control.values)],
                value=control.start,
                description=control.label,
                style={"description_width": "initial"},
                layout={"width": "100%", "max_width": "32rem"},
            )
            for control in controls
        ]
        for slider in self.sliders:
            slider.observe(self._moved, "value")
        style = widgets.HTML(f"<style>{packaged('player.css')}</style>")
        self.box = widgets.VBox([style, *self.sliders, self.view])
        self._target = self._setting()
        if quick is not None:
            self._rest.put(self._target)

    def bundle(self) -> dict[str, Any]:
        """The widget as data by MIME type, for a notebook."""
        return {"application/vnd.jupyter.widget-view+json": self.box.get_view_spec()}

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the full picture of the latest setting is drawn."""
        return self._hand.join(timeout) and self._rest.join(timeout)

    def close(self) -> None:
        """End the threads and take the widgets off the page."""
        self._hand.close()
        self._rest.close()
        for widget in (*self.box.children, self.box):
            widget.close()

    def _setting(self) -> Setting:
        return tuple(slider.value for slider in self.sliders)

    def _moved(self, change: object = None) -> None:
        with self._one:
            self._target = self._setting()
            self._rest.clear()
            self._hand.put(self._target)

    def _answer(self, setting: Setting) -> None:
        self._draw(setting, exact=self._quick is None or setting in self._full)

    def _refine(self, setting: Setting) -> None:
        self._draw(setting, exact=True)

    def _draw(self, setting: Setting, *, exact: bool) -> None:
        frames = self._full if exact or self._quick is None else self._quick
        problem = ""
        try:
            still = frames(setting)
        except BaseException as error:  # also exit(), which would end the thread
            problem = one_line(error)
        with self._one:
            if setting != self._target or self._hand.closed:
                return
            if not problem:
                self._last = still
            self.view.value = self._page(exact, problem)
            if not exact:
                self._rest.put(setting)

    def _page(self, exact: bool, problem: str = "") -> str:
        still = self._last
        if problem:
            words = f'<p class="facersa-error" role="alert">{html.escape(problem)}</p>'
        else:
            note = "" if exact else "Preview: the full picture follows."
            words = f'{numbers_list(still.numbers)}<p class="facersa-note">{note}</p>'
        picture = img(still.data, still.alt, still.size, self._width)
        return (
            f'<div class="facersa-player{" facersa-failed" if problem else ""}">'
            f'{picture}<div class="facersa-panel">{words}</div></div>'
        )


def one_line(error: BaseException) -> str:
    """An error's message in one line; for foreign errors, after their type."""
    lines = str(error).strip().splitlines() or ["no message"]
    if isinstance(error, FaceRSAError):
        return lines[0]
    return f"{type(error).__name__}: {lines[0]}"


def _ipywidgets() -> Any:
    try:
        import ipywidgets
    except ImportError as error:
        raise ExploreError(
            "live sliders expect ipywidgets, which is not installed; "
            "pip install 'facersa[book]' and restart the kernel."
        ) from error
    return ipywidgets
