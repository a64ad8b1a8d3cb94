"""Tests of the kinds of edits."""

from __future__ import annotations

import torch

from facersa.generator.statistics import WStatistics
from facersa.training.edits import Edits


def test_every_edit_changes_the_rows_and_none_leaves_the_space() -> None:
    stats = WStatistics.load()
    rng = torch.Generator().manual_seed(0)
    edits = Edits((5, 6, 7, 8), stats, rng)
    own, other = stats.unwhiten(torch.randn(2, 4, 512)).float()
    kinds = edits.coloured, edits.isotropic, edits.donated, edits.turned, edits.mapped
    for kind in (*kinds, edits):
        sizes = torch.stack([(kind(own, other) - own).norm() for _ in range(12)])
        assert torch.isfinite(sizes).all() and (sizes > 1e-3).all()
        assert sizes.max() > 1.5 * sizes.min()  # from slight to strong
    again = Edits((5, 6, 7, 8), stats, torch.Generator().manual_seed(5))
    same = Edits((5, 6, 7, 8), stats, torch.Generator().manual_seed(5))
    assert torch.equal(again(own, other), same(own, other))
