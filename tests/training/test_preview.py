"""Tests of the preview head's task."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from facersa.errors import CheckpointError, FaceRSAError
from facersa.generator.base import Generator
from facersa.generator.load import load_generator
from facersa.generator.mobile_stylegan import PreviewHead
from facersa.judges.networks import load_identity
from facersa.people import varied_codes
from facersa.training import preview
from facersa.training.loop import TrainConfig, train
from facersa.training.preview import HeadTask, render_pool
from facersa.training.recipes import HEAD, named


def same(a: PreviewHead, b: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, b[name]) for name, value in a.state_dict().items())


def test_varied_codes_are_of_three_kinds_and_repeatable(generator: Generator) -> None:
    codes = varied_codes(generator, 40, seed=5)
    assert codes.shape == (40, 16, 512)
    torch.testing.assert_close(varied_codes(generator, 3, seed=6), codes[1:4])
    distinct = [len(torch.unique(code, dim=0)) for code in codes]
    assert {1, 2, 16} == set(distinct)


def test_a_new_head_is_trained_and_the_generators_own_is_not(
    generator: Generator,
) -> None:
    before = {k: v.clone() for k, v in generator.head.state_dict().items()}
    task = HeadTask(generator, load_identity())
    assert not task.module.bands.weight.any()  # not that of the trained head
    assert same(HeadTask(generator, load_identity()).module, task.module.state_dict())
    other = HeadTask(generator, load_identity(), seed=1)
    assert not same(other.module, task.module.state_dict())
    for parameter in task.module.parameters():
        parameter.data.fill_(7.0)
    assert same(generator.head, before)
    assert not any(p.requires_grad for p in generator.head.parameters())


def test_two_seeds_share_nobody(
    generator: Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "render_pool", lambda *_: torch.zeros(0))
    monkeypatch.setattr(HeadTask, "_fit_linear", lambda *_: None)
    people = []
    for seed in (0, 1):
        task = HeadTask(generator, load_identity(), seed=seed)
        task.prepare(TrainConfig(pool=4, seed=seed), tmp_path)
        people.append(task.codes)
    assert (people[0][:, None] - people[1]).abs().amax((-1, -2)).min() > 0.01


def test_rendered_pictures_are_stored_and_checked(
    generator: Generator, tmp_path: Path
) -> None:
    codes = generator.sample([3], 0.7)
    pixels = render_pool(generator, codes, tmp_path)
    assert pixels.shape == (1, 256, 256, 3) and pixels.dtype == torch.uint8
    assert torch.equal(render_pool(generator, codes, tmp_path), pixels)
    with pytest.raises(CheckpointError, match="other settings"):
        render_pool(generator, codes + 1, tmp_path)
    (tmp_path / "pool.000000.safetensors").write_bytes(b"nonsense")
    with pytest.raises(CheckpointError, match="is damaged or belongs"):
        render_pool(generator, codes, tmp_path)


def test_a_misspelt_preset_is_an_error() -> None:
    with pytest.raises(FaceRSAError, match="smoke, cpu, gpu; got 'gpus'"):
        named("preset", "gpus", HEAD)


@pytest.mark.slow
def test_the_head_learns_in_a_few_steps(tmp_path: Path) -> None:
    generator = load_generator()
    results = train(
        HeadTask(generator, load_identity()),
        HEAD["smoke"],
        tmp_path,
        progress=False,
    )
    assert results["people"] == 4
    # Measured: .91 and .84, most of it by the linear part in closed form.
    assert results["low_band_r2"] > 0.7 and results["id_raw_mean"] > 0.5
    log = [json.loads(x) for x in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert log[-1]["mse"] < 1.0
    head = load_file(tmp_path / "preview_head.safetensors")
    generator.head.load_state_dict({k: v.float() for k, v in head.items()})
