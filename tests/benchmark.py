"""Speed of painting, sliders and training, with ratios to a reference.

Run it by hand on a quiet machine: ``python tests/benchmark.py``. It is not a test: a
timing depends on the machine, so the load of the machine is printed first.

Painting: the reference is the published OpenVINO network as it is (one w for all rows).
Sliders: in a real Jupyter kernel, from the message that a slider moved to the message
with the new picture; the reference is ``Renderer.preview`` alone, in the same kernel.
Rounds alternate between the candidates, so that a busy moment hits all. Training:
forward and backward for each person of a step, on CUDA if there is one; the reference
is one person a step of the steered mapper. On CUDA also previews with their gradients,
plain and as training computes them. Memory: of whole commands on large photographs;
``python tests/benchmark.py memory`` measures nothing else.

``python tests/benchmark.py against REVISION`` times the commands encrypt and decrypt on
a whole photograph, as they are now and as they were at that revision, in turns.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import openvino as ov
import torch
from large_photos import cost, save_large_photo
from live_kernel import LiveKernel

from facersa.assets import registry as assets
from facersa.cipher.catalogue import load_learned
from facersa.cli.demo import demo_photo
from facersa.figures.live import REST
from facersa.generator.base import fast_on_cuda
from facersa.generator.load import load_generator
from facersa.generator.openvino import Renderer
from facersa.generator.parts import load_parser
from facersa.judges.networks import load_identity, load_landmarks, load_lpips
from facersa.photo.images import jpeg_bytes, load_photo, png_bytes
from facersa.training.mapper import MapperTask
from facersa.training.recipes import mapper_preset

ROUNDS = 9
MOVES, DRAG = 40, 10  # moves in all, and without a rest
FIGURE = """
import time
from facersa.figures.explore import Frame, explore
from facersa.generator.load import load_generator
from facersa.generator.openvino import Renderer
generator = load_generator()
renderer = Renderer(generator)
def maker(render, kind):
    def make(person):
        return Frame(render(generator.sample([person], 0.7)), {kind: person})
    return make
def bare(person):
    ws = generator.sample([person], 0.7)
    begin = time.perf_counter()
    renderer.preview(ws)
    print(time.perf_counter() - begin)
for render in (renderer.preview, renderer.full):
    render(generator.sample([0], 0.7))
explore(maker(renderer.full, "full"), {"person": range(%d)}, name="people",
        alt="A generated face", quick=maker(renderer.preview, "quick"))
"""


def published_network() -> Callable[[torch.Tensor], object]:
    """The published synthesis network, compiled for the CPU in float32."""
    with tempfile.TemporaryDirectory() as name:
        archive = assets.archive_of(assets.RANDOM_FACE, Path(name), progress=False)
        with zipfile.ZipFile(archive) as files:
            files.extractall(name)
        xml = Path(name) / assets.RANDOM_FACE.folder / "SynthesisNetwork.xml"
        network = ov.Core().compile_model(
            xml,
            "CPU",
            {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"},
        )
    return lambda ws: network([ws[:, 0].numpy()])[0]


def slider_latency() -> dict[str, list[float]]:
    """Seconds from a move to its picture: new, cached, and beside a full one."""
    environment = {k: v for k, v in os.environ.items() if k != "FACERSA_PAGE"}
    with LiveKernel(environment) as kernel:
        kernel.run(FIGURE % (2 * MOVES + 2))
        slider = kernel.find("SelectionSliderModel")[0]

        def drawn(kind: str, person: int) -> bool:
            number = f"<dt>{kind}</dt><dd>{person}</dd>"
            html = (kernel.states[w]["value"] for w in kernel.find("HTMLModel"))
            return any(number in text for text in html)

        def move(person: int) -> float:
            begin = time.perf_counter()
            kernel.move(slider, person)
            kernel.until(lambda: drawn("quick", person) or drawn("full", person))
            return time.perf_counter() - begin

        def bare(person: int) -> float:
            kernel.run(f"bare({person})")
            return float(kernel.printed.split()[-1])

        alone, new, cached, beside = [], [], [], []
        kernel.until(lambda: drawn("full", 0))
        for first in range(1, MOVES, DRAG):
            drag = range(first, first + DRAG)
            alone += [bare(person) for person in drag]
            new += [move(person) for person in drag]
            cached += [move(person) for person in drag]
            # No full picture may be computed while the reference is painted.
            kernel.until(partial(drawn, "full", drag[-1]))
        for person in range(MOVES + 1, 2 * MOVES + 1):
            beside.append(move(person))
            time.sleep(REST + 0.05)
        return {
            "Renderer.preview alone": alone,
            "a move, new picture": new,
            "a move, picture cached": cached,
            "a move while a full one is painted": beside,
        }


def report(times: dict[str, list[float]]) -> None:
    """Print best, median and worst in seconds, and the median's ratio to the first.

    On a busy machine the best is nearest to what a quiet one would do.
    """
    reference = statistics.median(next(iter(times.values())))
    for name, values in times.items():
        median = statistics.median(values)
        print(
            f"{name:<38} best {min(values):6.3f}   median {median:6.3f}   "
            f"worst {max(values):6.3f}   ratio {median / reference:5.2f}"
        )


def training() -> dict[str, list[float]]:
    """Seconds of a training step of a mapper, for each person in it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    networks = (
        load_generator(device=device),
        load_identity(device),
        load_landmarks(device),
        load_parser(device),
        load_lpips("alex", device),
    )
    counts = {"cpu": (1, 4), "cuda": (1, 8, 32)}[device]
    times: dict[str, list[float]] = {}
    for kind, stage, batch in [
        *(("steered", "painted", count) for count in counts),
        *(("faithful", "painted", count) for count in counts),
        ("assembled", "distillation", 32),
    ]:
        config, recipe = mapper_preset("gpu" if device == "cuda" else "cpu", kind)
        copied = recipe.distillation_batch if stage == "distillation" else 0
        recipe = replace(recipe, distillation_steps=10**6 if copied else 0)
        teacher = load_learned(recipe.teacher, device=device) if copied else None
        task = MapperTask(*networks, recipe, teacher)
        with tempfile.TemporaryDirectory() as folder:
            task.prepare(replace(config, batch=batch, pool=100), Path(folder))
        seconds = []
        for step in range(ROUNDS + 2):
            begin = time.perf_counter()
            loss, _ = task.loss(step, torch.Generator().manual_seed(step))
            loss.backward()
            loss.item()  # waits for a GPU
            seconds.append((time.perf_counter() - begin) / batch)
        times[f"{kind}, {stage}, {batch} a step, {device}"] = seconds[2:]
    return times


def gradients(together: int = 64) -> dict[str, list[float]]:
    """Seconds to paint previews and backpropagate to their codes, on CUDA."""
    generator = load_generator(device="cuda")
    ws = generator.sample(range(together), 0.85).requires_grad_(True)

    def seconds(paint: Callable[[torch.Tensor], torch.Tensor]) -> list[float]:
        taken = []
        for _ in range(ROUNDS + 2):
            torch.cuda.synchronize()
            begin = time.perf_counter()
            with torch.autocast("cuda", torch.bfloat16):
                picture = paint(ws)
            picture.float().square().mean().backward()
            torch.cuda.synchronize()
            taken.append(time.perf_counter() - begin)
        return taken[2:]

    plain = seconds(generator.preview)
    compiled = fast_on_cuda(generator, generator.preview)
    return {
        f"{together} previews and gradients": plain,
        "the same, channels last": seconds(generator.preview),
        "the same, channels last, compiled": seconds(compiled),
    }


def main() -> None:
    """Print how busy the machine is, painting, sliders and training."""
    print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores before we begin")
    if sys.argv[1:2] == ["against"]:
        for times in versions(sys.argv[2]):
            report(times)
        return
    memory()
    if sys.argv[1:] == ["memory"]:
        return
    report(painting())
    report(slider_latency())
    report(training())
    if torch.cuda.is_available():
        report(gradients())
    print(f"load {os.getloadavg()[0]:.1f} at the end")


def versions(revision: str, rounds: int = 3) -> list[dict[str, list[float]]]:
    """Seconds of encrypt and of decrypt at a revision of git, and now."""
    root = Path(__file__).resolve().parents[1]
    encrypting: dict[str, list[float]] = {revision: [], "now": []}
    decrypting: dict[str, list[float]] = {revision: [], "now": []}
    environment = {**os.environ, "FACERSA_PASSWORD": "of the benchmark"}
    with tempfile.TemporaryDirectory() as name:
        photo, sealed, back = (
            Path(name) / file for file in ("a.png", "b.png", "c.png")
        )
        photo.write_bytes(png_bytes(demo_photo()))
        old = Path(name) / "old"
        git = ["git", "-C", str(root), "worktree"]
        subprocess.run([*git, "add", "--detach", old, revision], check=True)
        try:
            for _ in range(rounds):
                for version, tree in ((revision, old), ("now", root)):
                    for times, command in (
                        (encrypting, ("encrypt", str(photo), "-o", str(sealed))),
                        (decrypting, ("decrypt", str(sealed), "-o", str(back))),
                    ):
                        begin = time.perf_counter()
                        subprocess.run(
                            [sys.executable, "-m", "facersa", *command],
                            cwd=tree,
                            env=environment,
                            check=True,
                            capture_output=True,
                        )
                        times[version].append(time.perf_counter() - begin)
        finally:
            subprocess.run([*git, "remove", "--force", old], check=True)
    return [
        {f"{command}, {version}": seconds for version, seconds in times.items()}
        for command, times in (("encrypt", encrypting), ("decrypt", decrypting))
    ]


def memory() -> None:
    """Print what the commands take for photographs of 24 and of 100 megapixels."""
    for width, height in ((6000, 4000), (12240, 8160)):
        with tempfile.TemporaryDirectory() as name:
            photo, sealed, sent, back = (
                Path(name) / file for file in ("a.jpg", "b.png", "c.jpg", "d.png")
            )
            save_large_photo(photo, width, height)
            costs = {
                "encrypt": cost("encrypt", photo, "-o", sealed, "--steps", 0),
                "decrypt": cost("decrypt", sealed, "-o", back),
            }
            sent.write_bytes(jpeg_bytes(load_photo(sealed), quality=85))
            costs["decrypt --from-pixels"] = cost(
                "decrypt", sent, "-o", back, "--from-pixels"
            )
        for command, (peak, seconds) in costs.items():
            what = f"{command}, {width * height / 1e6:.0f} megapixels"
            print(f"{what:<38} {peak:6.2f} GiB   {seconds:6.1f} s of a CPU")


def painting() -> dict[str, list[float]]:
    """Seconds of each way to paint a picture."""
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
    return times


if __name__ == "__main__":
    main()
