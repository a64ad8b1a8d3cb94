"""Tests of encrypting and decrypting again."""

from __future__ import annotations

import pytest

from facersa.evaluation import again
from facersa.evaluation.again import encrypted_again
from facersa.evaluation.results import value
from facersa.generator.base import Generator


def test_what_is_exact_comes_back_and_a_turned_vector_does_too(
    generator: Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A blur has no way back, and a trained system keeps an error."""
    names = ["blur", "sign-flip-like", "FIT-like", "ours, ring"]
    monkeypatch.setattr(again, "system_names", lambda: names)
    result = encrypted_again(generator, n=8, progress=False)
    assert {row["property"] for row in result["rows"]} == set(names[1:])
    for name in ("sign-flip-like", "ours, ring"):
        assert value(result, name, "encrypted", "error").mean == 0
        assert value(result, name, "told apart", "auc").mean == 0.5
    assert value(result, "FIT-like", "encrypted", "error").mean > 0.01
