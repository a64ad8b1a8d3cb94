"""Sliders and the grid of settings that they reach, checked before anything runs.

A setting is a tuple of indices, one for each slider: it can be stored, compared
and looked up, whatever the values are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

from facersa.errors import ExploreError

MAX_FRAMES = 400

MINUS = "\N{MINUS SIGN}"

Setting = tuple[int, ...]


@dataclass(frozen=True)
class Control:
    """One slider: its keyword, its label, the names of its values, its start."""

    keyword: str
    label: str
    values: tuple[str, ...]
    start: int


@dataclass(frozen=True)
class Grid:
    """The settings that sliders can reach.

    Args:
        values: those of each slider.
        controls: the sliders.
    """

    values: tuple[tuple[Any, ...], ...]
    controls: tuple[Control, ...]

    @classmethod
    def of(
        cls,
        sliders: Mapping[str, Sequence[Any]],
        labels: Mapping[str, str],
        start: Mapping[str, Any],
    ) -> Grid:
        """The grid of ``explore``'s arguments of the same names, checked."""
        if not sliders:
            raise ExploreError("explore expects a slider or more, got none.")
        _known("labels", labels, sliders)
        _known("start", start, sliders)
        columns, controls = [], []
        for keyword, given in sliders.items():
            values = _checked(keyword, given, least=2)
            begin = start.get(keyword, values[0])
            if begin not in values:
                raise ExploreError(
                    f"slider {keyword} starts at {begin!r}, which is none of its "
                    f"values; choose one of {_listed(values)}."
                )
            label = labels.get(keyword, keyword)
            columns.append(values)
            controls.append(_control(keyword, label, values, begin))
        return cls(tuple(columns), tuple(controls))

    def fewer(self, page: Mapping[str, Sequence[Any]]) -> Grid:
        """The grid of the published page, some of the values of this one.

        Raises:
            ExploreError: values that this grid does not have, no start, or more
                than ``MAX_FRAMES`` settings.
        """
        own = {c.keyword: v for c, v in zip(self.controls, self.values, strict=True)}
        _known("page", page, own)
        columns, controls = [], []
        for control, values in zip(self.controls, self.values, strict=True):
            keyword, begin = control.keyword, values[control.start]
            kept = _checked(keyword, page.get(keyword, values), least=1)
            odd = [value for value in kept if value not in values]
            if odd or begin not in kept:
                raise ExploreError(
                    f"page expects some of slider {keyword}'s values "
                    f"{_listed(values)}, its start {begin!r} among them, got "
                    f"{_listed(kept)}."
                )
            columns.append(kept)
            controls.append(_control(keyword, control.label, kept, begin))
        count = math.prod(len(values) for values in columns)
        if count > MAX_FRAMES:
            product = " x ".join(str(len(values)) for values in columns)
            raise ExploreError(
                f"a page holds at most {MAX_FRAMES} frames, got {product} = {count}; "
                "name fewer values for it in page={keyword: values}."
            )
        return Grid(tuple(columns), tuple(controls))

    @property
    def start(self) -> Setting:
        """Where all sliders start."""
        return tuple(control.start for control in self.controls)

    def settings(self) -> list[Setting]:
        """All settings, the last slider moving fastest."""
        return list(itertools.product(*(range(len(v)) for v in self.values)))

    def keywords(self, setting: Setting) -> dict[str, Any]:
        """The keyword arguments that a setting stands for."""
        pairs = zip(self.controls, self.values, setting, strict=True)
        return {control.keyword: values[index] for control, values, index in pairs}

    def words(self, setting: Setting) -> str:
        """A setting in words: "Person 3, Strength 0.5"."""
        pairs = zip(self.controls, setting, strict=True)
        return ", ".join(f"{c.label} {c.values[index]}" for c, index in pairs)


def _known(what: str, given: Mapping[str, Any], sliders: Mapping[str, Any]) -> None:
    unknown = [keyword for keyword in given if keyword not in sliders]
    if unknown:
        raise ExploreError(
            f"{what} names {', '.join(unknown)}, which is no slider; "
            f"the sliders are {', '.join(sliders)}."
        )


def _checked(keyword: str, given: Sequence[Any], least: int) -> tuple[Any, ...]:
    """The values of a slider: numbers or short strings whose names differ."""
    loose = isinstance(given, str) or not isinstance(given, Iterable)
    values = () if loose else tuple(given)
    if len(values) < least:
        raise ExploreError(
            f"slider {keyword} expects a list of {least} values or more, got "
            f"{given!r}; give a setting that never moves to the function itself."
        )
    for value in values:
        number = isinstance(value, Real) and math.isfinite(value)
        if not number and (not isinstance(value, str) or not value.strip()):
            raise ExploreError(
                f"slider {keyword} expects numbers or short strings, got {value!r}; "
                "use a string, and look up in the function what it stands for."
            )
    names = [name_of(value) for value in values]
    if len(set(names)) < len(names):
        raise ExploreError(
            f"slider {keyword} expects values that read differently, got "
            f"{_listed(values)}; leave out the repeated ones."
        )
    return values


def _control(keyword: str, label: str, values: Sequence[Any], begin: object) -> Control:
    names = tuple(name_of(value) for value in values)
    return Control(keyword, label, names, list(values).index(begin))


def name_of(value: object) -> str:
    """A value as a reader sees it, with a true minus sign: 0.3, 5-8, a name."""
    if isinstance(value, Real) and not isinstance(value, bool):
        whole = isinstance(value, Integral)
        return (str(value) if whole else f"{float(value):g}").replace("-", MINUS)
    return str(value)


def _listed(values: Sequence[object]) -> str:
    names = [repr(value) for value in values]
    return ", ".join(names if len(names) <= 12 else [*names[:11], "..."])
