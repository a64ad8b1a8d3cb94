"""Sliders and the grid of settings that they reach, checked before anything runs.

A setting is a tuple of indices, one for each slider, so it can be a key of a
dictionary whatever the values are.
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
    """One slider: keyword, label, its values as text, and the index of its start.

    A ``menu`` is a drop-down list in its place, for values that have no order.
    """

    keyword: str
    label: str
    values: tuple[str, ...]
    start: int
    menu: bool = False


@dataclass(frozen=True)
class Grid:
    """The settings that sliders can reach: the values of each, and the sliders."""

    values: tuple[tuple[Any, ...], ...]
    controls: tuple[Control, ...]

    @classmethod
    def of(
        cls,
        sliders: Mapping[str, Sequence[Any]],
        labels: Mapping[str, str],
        start: Mapping[str, Any],
        menus: Sequence[str] | None = None,
    ) -> Grid:
        """The grid of ``explore``'s arguments of the same names, checked."""
        if not sliders:
            raise ExploreError(
                "explore expects one slider or more, got none; name its values."
            )
        _known("labels", labels, sliders)
        _known("start", start, sliders)
        _known("menus", dict.fromkeys(menus or ()), sliders)
        columns = {key: _checked(key, given, 2) for key, given in sliders.items()}
        if menus is None:
            menus = [key for key, values in columns.items() if _are_names(values)]
        starts = {key: start.get(key, values[0]) for key, values in columns.items()}
        for key, values in columns.items():
            if starts[key] not in values:
                raise ExploreError(
                    f"slider {key} starts at {starts[key]!r}, which is not one of its "
                    f"values; choose one of {_listed(values)}."
                )
        names = {key: labels.get(key, key) for key in sliders}
        return cls._build(columns, names, starts, menus)

    def fewer(self, page: Mapping[str, Sequence[Any]]) -> Grid:
        """The grid of the published page: some of the values of this one.

        Raises:
            ExploreError: values that this grid does not have, no start, or more
                than ``MAX_FRAMES`` settings.
        """
        own = {c.keyword: v for c, v in zip(self.controls, self.values, strict=True)}
        _known("page", page, own)
        columns = {key: _checked(key, page.get(key, own[key]), 1) for key in own}
        starts = self.keywords(self.start)
        for key, values in columns.items():
            if not set(values) <= set(own[key]) or starts[key] not in values:
                raise ExploreError(
                    f"page expects some of slider {key}'s values {_listed(own[key])}, "
                    f"its start {starts[key]!r} among them, got {_listed(values)}."
                )
        sizes = [len(values) for values in columns.values()]
        if math.prod(sizes) > MAX_FRAMES:
            product = " x ".join(map(str, sizes))
            raise ExploreError(
                f"a page holds at most {MAX_FRAMES} frames, got {product} = "
                f"{math.prod(sizes)}; give fewer values in page={{keyword: values}}."
            )
        names = {c.keyword: c.label for c in self.controls}
        menus = [c.keyword for c in self.controls if c.menu]
        return self._build(columns, names, starts, menus)

    @classmethod
    def _build(
        cls,
        columns: Mapping[str, tuple[Any, ...]],
        labels: Mapping[str, str],
        starts: Mapping[str, Any],
        menus: Sequence[str],
    ) -> Grid:
        controls = [
            Control(
                key,
                labels[key],
                tuple(map(name_of, values)),
                values.index(starts[key]),
                key in menus,
            )
            for key, values in columns.items()
        ]
        return cls(tuple(columns.values()), tuple(controls))

    @property
    def start(self) -> Setting:
        """The setting in which all sliders start."""
        return tuple(control.start for control in self.controls)

    def settings(self) -> list[Setting]:
        """All settings, the last slider moving fastest."""
        return list(itertools.product(*(range(len(v)) for v in self.values)))

    def keywords(self, setting: Setting) -> dict[str, Any]:
        """A setting as keyword arguments."""
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
            f"{what} names {', '.join(unknown)}, which is not a slider; "
            f"the sliders are {', '.join(sliders)}."
        )


def _checked(keyword: str, given: Sequence[Any], least: int) -> tuple[Any, ...]:
    """The values of a slider: numbers or strings, no two written alike."""
    loose = isinstance(given, str) or not isinstance(given, Iterable)
    values = () if loose else tuple(given)
    if len(values) < least:
        raise ExploreError(
            f"slider {keyword} expects a list of {least} values or more, got "
            f"{given!r}; fix a setting that never moves inside the function."
        )
    for value in values:
        number = isinstance(value, Real) and math.isfinite(value)
        if not number and (not isinstance(value, str) or not value.strip()):
            raise ExploreError(
                f"slider {keyword} expects numbers or short strings, got {value!r}; "
                "use a string, and let the function look up what it stands for."
            )
    names = [name_of(value) for value in values]
    if len(set(names)) < len(names):
        raise ExploreError(
            f"slider {keyword} expects values that are written differently, got "
            f"{_listed(values)}; leave out the repeated ones."
        )
    return values


def _are_names(values: Sequence[Any]) -> bool:
    """Whether values are names in no order: strings that do not all begin a number."""
    return all(isinstance(value, str) for value in values) and not all(
        value.lstrip(f"+-±.{MINUS}")[:1].isdigit() for value in values
    )


def name_of(value: object) -> str:
    """A value as text, with a true minus sign."""
    if isinstance(value, Real) and not isinstance(value, bool):
        whole = isinstance(value, Integral)
        return (str(value) if whole else f"{float(value):g}").replace("-", MINUS)
    return str(value)


def _listed(values: Sequence[object]) -> str:
    names = [repr(value) for value in values]
    return ", ".join(names if len(names) <= 12 else [*names[:11], "..."])
