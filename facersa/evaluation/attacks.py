"""What an adversary could try: with the edited code, or with pictures of both kinds."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def copy_row(ws: Tensor, layers: Sequence[int], *sources: int) -> Tensor:
    """Copy an unedited row, or the mean of several, over the edited ones.

    No password is needed. Rows of one person's code resemble each other; in W they are
    equal. So whoever holds an edited *code* in clear recovers the person, approximately
    for codes of photographs and exactly for codes in W. It works against the paper's
    setting too, where the edited code travels.

    Args:
        ws: (B, rows, D) edited codes.
        layers: the rows that were edited.
        sources: rows that were not.

    Raises:
        ValueError: one of ``sources`` is an edited row.
    """
    if edited := set(sources) & set(layers):
        raise ValueError(f"row {min(edited)} is edited; copy from another one.")
    forged = ws.clone()
    forged[:, list(layers)] = ws[:, list(sources)].mean(1, keepdim=True)
    return forged


def classifier_accuracy(plain: Tensor, encrypted: Tensor, *, folds: int = 8) -> Tensor:
    """How well a classifier separates encrypted pictures from plain ones.

    A linear classifier (ridge regression to -1 and 1 on standardised features) is
    cross-validated: in each of ``folds`` it is fitted to some people and tested on
    the others, and both pictures of a person are always in the same fold.

    Args:
        plain: (P, F) features of the pictures of P people.
        encrypted: (P, F) features of their encrypted pictures.
        folds: groups of people that are tested in turn, at most P.

    Returns:
        (P,) share of each person's two pictures that are classified correctly: a
        mean of .5 is chance.

    Raises:
        ValueError: shapes that differ, or fewer than two people.
    """
    people = len(plain)
    if plain.shape != encrypted.shape or plain.ndim != 2 or people < 2:
        raise ValueError(
            "expected features (P, F) of the same 2 people or more, got "
            f"{tuple(plain.shape)} and {tuple(encrypted.shape)}."
        )
    both = torch.stack([plain, encrypted], 1).double()  # (P, 2, F)
    labels = torch.tensor([-1.0, 1.0], dtype=torch.float64)
    correct = torch.empty(people, dtype=torch.float64)
    for fold in range(min(folds, people)):
        tested = torch.arange(people) % min(folds, people) == fold
        fitted = both[~tested].flatten(0, 1)
        mean, spread = fitted.mean(0), fitted.std(0) + 1e-6
        x = (fitted - mean) / spread
        y = labels.repeat(len(fitted) // 2)
        # Dual form: as many unknowns as pictures, not as features.
        gram = x @ x.T + x.shape[1] * torch.eye(len(x), dtype=x.dtype)
        weights = x.T @ torch.linalg.solve(gram, y)
        logits = ((both[tested] - mean) / spread) @ weights
        correct[tested] = ((logits > 0) == (labels > 0)).double().mean(1)
    return correct
