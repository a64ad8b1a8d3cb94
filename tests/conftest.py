"""What the tests share: quiet threads, fixed seeds, generator, photograph, browser."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from facersa.generator.base import Generator

# Two programs that use the same cores wait for one another's threads: several times
# slower. So each of pytest-xdist's workers keeps to its own.
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    cores, count = (
        sorted(os.sched_getaffinity(0)),
        os.environ["PYTEST_XDIST_WORKER_COUNT"],
    )
    own = cores[int(worker.removeprefix("gw")) % len(cores) :: int(count)]
    os.sched_setaffinity(0, own)
torch.set_num_threads(max(1, min(2, len(os.sched_getaffinity(0)))))

hypothesis.settings.register_profile(
    "facersa",
    deadline=None,
    max_examples=20,
    derandomize=True,
    # Keeps the tree clean, and runs from one another.
    database=None,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.function_scoped_fixture,
    ],
)
hypothesis.settings.load_profile("facersa")


@pytest.fixture(autouse=True)
def seeds() -> None:
    """Every test starts from the same random state, whatever ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def one_salt() -> Iterator[None]:
    """Encryption takes the first salt, not the best of eight."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("facersa.pipeline.SALTS", 1)
        yield


@pytest.fixture
def any_ws() -> torch.Tensor:
    """Codes (3, 16, 512) of three people, every row drawn independently."""
    from facersa.generator.statistics import WStatistics

    return WStatistics.load().unwhiten(torch.randn(3, 16, 512)).float()


@pytest.fixture(scope="session")
def generator() -> Iterator[Generator]:
    """The pretrained FFHQ generator on the CPU, loaded once.

    Without the file and without a network a person's run skips these tests; a
    CI run fails, so that it can never pass on having tested nothing.
    """
    from facersa.errors import AssetError
    from facersa.generator.load import load_generator

    try:
        model = load_generator()
    except AssetError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the generator is not in the cache: {error}")
    yield model


@pytest.fixture(scope="session")
def astronaut() -> torch.Tensor:
    """A real photograph in the public domain: (1, 3, 512, 512), RGB in [-1, 1]."""
    from skimage import data

    array = torch.from_numpy(data.astronaut().copy())
    return array.permute(2, 0, 1)[None].float() / 127.5 - 1


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium: the system's, or the one that playwright fetched.

    Without one a person's run skips these tests; a CI run fails.
    """

    def absent(cure: str) -> None:
        if os.environ.get("CI"):
            pytest.fail(f"no browser to open the pages with: {cure}")
        pytest.skip(f"no browser to open the pages with: {cure}")

    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        absent("pip install 'facersa[test]'")
    names = ("chromium", "chromium-browser", "google-chrome")
    with sync_playwright() as playwright:
        installed = next(filter(None, map(shutil.which, names)), None)
        path = installed or playwright.chromium.executable_path
        if not Path(path).exists():
            absent("install Chromium, or run: playwright install chromium")
        launched = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu"]
        )
        yield launched
        launched.close()
