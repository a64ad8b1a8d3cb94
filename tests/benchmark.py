"""How fast a full picture is painted, side by side in one run, as ratios.

Run it by hand on a quiet machine: ``python tests/benchmark.py``. It is no test:
a timing says something about a machine, not about the code being right.

The reference is the published OpenVINO network run as it is (one w for all
rows). Rounds alternate between the candidates, so that a busy moment hits all.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import openvino as ov
import torch

from facersa import assets
from facersa.generator import load_generator
from facersa.rendering import Renderer

ROUNDS = 9


def published_network() -> Callable[[torch.Tensor], object]:
    """The published synthesis network, compiled for the CPU in float32."""
    with tempfile.TemporaryDirectory() as name:
        archive = assets._download(assets.RANDOM_FACE, Path(name), False)
        with zipfile.ZipFile(archive) as files:
            files.extractall(name)
        xml = Path(name) / assets.RANDOM_FACE.folder / "SynthesisNetwork.xml"
        network = ov.Core().compile_model(
            xml,
            "CPU",
            {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"},
        )
    return lambda ws: network([ws[:, 0].numpy()])[0]


def main() -> None:
    """Print medians in seconds and ratios to the published network."""
    generator = load_generator()
    renderer = Renderer(generator)
    ws = generator.sample([0], 0.7)

    def plain(codes: torch.Tensor) -> object:
        with torch.no_grad():
            return generator.synthesize(codes)

    def plain_preview(codes: torch.Tensor) -> object:
        with torch.no_grad():
            return generator.preview(codes)

    candidates: dict[str, Callable[[torch.Tensor], object]] = {
        "published network, OpenVINO, 1024": published_network(),
        "Renderer.full, 1024": renderer.full,
        "Generator.synthesize, PyTorch, 1024": plain,
        "Renderer.preview, 256": renderer.preview,
        "Generator.preview, PyTorch, 256": plain_preview,
    }
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for run in candidates.values():
        run(ws)
    for _ in range(ROUNDS):
        for name, run in candidates.items():
            start = time.perf_counter()
            run(ws)
            times[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in times.items()}
    reference = next(iter(medians.values()))
    for name, median in medians.items():
        print(f"{name:<38} {median:7.3f} s   ratio {median / reference:5.2f}")


if __name__ == "__main__":
    main()
