"""Both generators meet one protocol: the same calls, each with its own sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_checkpoints import save_e4e, save_stylegan2

from facersa.generator.base import Generator, fast_on_cuda
from facersa.generator.load import load_generator
from facersa.generator.mobile_stylegan import MobileStyleGAN
from facersa.generator.stylegan2 import StyleGAN2


@pytest.fixture(scope="module", params=["shipped", "rosinality", "e4e"])
def any_generator(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator:
    path = tmp_path_factory.mktemp("generator") / "file.pt"
    if request.param == "shipped":
        return request.getfixturevalue("generator")
    save = save_e4e if request.param == "e4e" else save_stylegan2
    return load_generator(save(path))


def test_files_give_stylegan2_and_no_file_the_one_that_ships(
    generator: Generator, tmp_path: Path
) -> None:
    assert isinstance(generator, MobileStyleGAN)
    assert isinstance(load_generator(str(save_stylegan2(tmp_path / "g.pt"))), StyleGAN2)


def test_the_protocol_is_met(any_generator: Generator) -> None:
    assert isinstance(any_generator, Generator)
    assert not isinstance(torch.nn.Linear(1, 1), Generator)
    rows = {1024: 16 if isinstance(any_generator, MobileStyleGAN) else 18}
    assert any_generator.num_ws == rows[any_generator.resolution]
    assert any_generator.w_avg.shape == (any_generator.w_dim,)
    assert fast_on_cuda(any_generator, any_generator.preview) == any_generator.preview


def test_noise_becomes_codes_and_codes_become_pictures(
    any_generator: Generator,
) -> None:
    rows, size = any_generator.num_ws, any_generator.w_dim
    w = any_generator.map(torch.randn(2, size))
    assert w.shape == (2, size)
    ws = any_generator.broadcast(w)
    assert ws.shape == (2, rows, size) and (ws == w[:, None]).all()
    ws = any_generator.sample([5])
    with torch.no_grad():
        full, preview = any_generator.synthesize(ws), any_generator.preview(ws)
    assert full.shape == (1, 3, 1024, 1024) and preview.shape == (1, 3, 256, 256)
    small = [torch.nn.functional.adaptive_avg_pool2d(x, 8) for x in (full, preview)]
    correlation = torch.corrcoef(torch.stack(small).flatten(1))
    assert correlation[0, 1] > 0.8  # of the same picture


def test_truncation(any_generator: Generator) -> None:
    w = torch.randn(5, any_generator.w_dim)
    mean = any_generator.w_avg
    torch.testing.assert_close(any_generator.truncate(w, 1.0), w)
    assert torch.equal(any_generator.truncate(w, 0.0), mean.expand(5, -1))
    torch.testing.assert_close(any_generator.truncate(w, 0.5), (w + mean) / 2)


def test_a_sample_depends_on_its_seed_only(any_generator: Generator) -> None:
    together = any_generator.sample([3, 8], psi=0.6)
    assert together.shape == (2, any_generator.num_ws, any_generator.w_dim)
    torch.testing.assert_close(together[1:], any_generator.sample([8], psi=0.6))
    assert not torch.allclose(together[0], together[1])


def test_other_shapes_are_refused(any_generator: Generator) -> None:
    rows, size = any_generator.num_ws, any_generator.w_dim
    for paint in (any_generator.synthesize, any_generator.preview):
        for shape in ((rows, size), (1, rows - 1, size), (1, rows, size + 1)):
            with pytest.raises(ValueError, match="ws must have shape"):
                paint(torch.zeros(shape))
    with pytest.raises(ValueError, match="z must have shape"):
        any_generator.map(torch.zeros(size))
    with pytest.raises(ValueError, match="w must have shape"):
        any_generator.broadcast(torch.zeros(1, rows, size))
