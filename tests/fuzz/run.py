"""Fuzz the readers: ``python tests/fuzz/run.py [NAME ...] [--seconds 60] [--runs N]``.

Each target runs in a process of its own, two at once, with libFuzzer's mutations and,
where an input holds JSON, mutations of that. A failure does not stop a run: every new
one is stored once, by the line that raised it. The status is 1 if there was any, or if
a process died: of a crash, of too much memory or of a hang.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import os
import random
import re
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CORPUS, CRASHES = HERE / "corpus", HERE / "crashes"
NAMES = sorted(path.name for path in CORPUS.iterdir())
MEMORY_MIB, HANG_SECONDS, LONGEST = 3072, 60, 40_000
# What a number, a list or a name in a header may be, and must not be.
ODD = (
    *(None, True, "", "x", "00" * 8, [], {}, [[]], [1, 2], [-1], -1, 0, 1, 2, 0.5),
    *(128.0, 1e308, -1e-308, float("inf"), float("nan"), 64, 4096, 2**31, 2**64),
    *(10**400, 10**8, "9" * 30, [[0, 0], [0, 8], [8, 8], [8, 0]], [8, 8], "nan"),
)


def mutated(data: bytes, seed: int) -> bytes | None:
    """The first JSON value in ``data`` with a few parts exchanged; None without one."""
    rng, start = random.Random(seed), data.find(b"{")
    rest = data[start:].decode("latin1") if start >= 0 else ""
    try:
        value, end = json.JSONDecoder().raw_decode(rest)
    except (ValueError, RecursionError):
        return None
    for _ in range(rng.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        inside = [value]
        for part in inside:  # the list grows
            keys = part if isinstance(part, dict) else range(len(part))
            places += [(part, key) for key in keys]
            inside += [part[key] for key in keys if isinstance(part[key], dict | list)]
        if not places:
            break
        part, key = rng.choice(places)
        other, name = rng.choice(places)
        match rng.randrange(5):
            case 0:
                del part[key]
            case 1:
                part[key] = json.loads(json.dumps(other[name]))
            case 2 if isinstance(part, list):
                part += part[: rng.randint(1, 8)]
            case _:
                part[key] = copy.deepcopy(rng.choice(ODD))
    return data[:start] + json.dumps(value).encode() + rest[end:].encode("latin1")


def fuzz(name: str, options: list[str]) -> None:
    """Fuzz one target in this process, which ends with it."""
    import atheris

    with atheris.instrument_imports(include=["facersa", "PIL"]):
        import targets

    import torch

    torch.set_num_threads(1)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf(
        "SC_PAGESIZE"
    )
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY_MIB * 2**20,) * 2)
    known: set[tuple[str, ...]] = set()

    def one(data: bytes) -> None:
        try:
            targets.check(name, data)
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [f for f in frames if "/facersa/" in f.filename] or frames
            line = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
            if (type(error).__name__, line) not in known:
                known.add((type(error).__name__, line))
                file = f"{type(error).__name__}-{hashlib.sha256(data).hexdigest()[:8]}"
                (CRASHES / name).mkdir(parents=True, exist_ok=True)
                (CRASHES / name / file).write_bytes(data)
                message = str(error).partition("\n")[0][:120]
                print(f"FAILURE {line} {file}: {message}", file=sys.stderr, flush=True)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        new = mutated(data, seed) if seed % 2 else None
        return atheris.Mutate(data, most) if new is None else new[:most]

    atheris.Setup([sys.argv[0], *options], one, custom_mutator=mutate)
    atheris.Fuzz()


def run(name: str, seconds: int, runs: int) -> dict[str, Any]:
    """Fuzz one target in a process of its own, and what came of it."""
    with tempfile.TemporaryDirectory() as new:
        command = [sys.executable, __file__, "--child", name, new, str(CORPUS / name)]
        command += [
            f"-max_total_time={seconds}",
            f"-runs={runs}",
            "-print_final_stats=1",
        ]
        command += [f"-timeout={HANG_SECONDS}", f"-max_len={LONGEST}", "-seed=1"]
        command += [f"-artifact_prefix={CRASHES}/{name}-", "-verbosity=1"]
        CRASHES.mkdir(exist_ok=True)
        paths = os.pathsep.join(map(str, (HERE.parents[1], HERE.parent)))
        environment = os.environ | {
            "PYTHONPATH": paths,
            "OMP_NUM_THREADS": "1",
            "TQDM_DISABLE": "1",
        }
        if Path("/dev/shm").is_dir():  # the targets write many files
            environment["TMPDIR"] = "/dev/shm"
        start = time.monotonic()
        done = subprocess.run(
            command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        log = done.stderr.decode(errors="replace")
        corpus = len(list(Path(new).iterdir()))
    *_, last = re.findall(r"cov: (\d+) ft: (\d+)", log) or [("0", "0")]
    inputs = re.findall(r"^stat::number_of_executed_units: +(\d+)", log, re.M) or [0]
    result = {
        "reader": name,
        "inputs": int(inputs[-1]),
        "seconds": round(time.monotonic() - start),
        "new_corpus_files": corpus,
        "coverage_edges": int(last[0]),
        "coverage_features": int(last[1]),
        "failures": re.findall(r"^FAILURE (.*)", log, re.M),
    }
    if done.returncode:
        result["failures"].append(" ".join(log.strip().splitlines()[-12:])[-400:])
    return result


def report(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures in the form of ``facersa.evaluation.results``; n counts inputs."""
    from facersa.evaluation.results import Interval, head, rows

    figures = {}
    for one in results:
        counts = {"failures": len(one["failures"]), "seconds": one["seconds"]}
        counts |= {key: one[key] for key in ("new_corpus_files", "coverage_edges")}
        for metric, count in counts.items():
            key = one["reader"], "fuzzed", metric, None
            figures[key] = Interval(count, count, count, one["inputs"])
    return head("fuzzing") | {"rows": rows(figures)}


def main() -> int:
    """Parse the arguments, run the targets, print what came of them."""
    if sys.argv[1:2] == ["--child"]:
        fuzz(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--seconds", type=int, default=60, help="0 for no limit")
    parser.add_argument("--runs", type=int, default=-1, help="inputs for each target")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"expected names from {NAMES}, got {sorted(unknown)}")
    results = []
    with ThreadPoolExecutor(2) as pool:
        for result in pool.map(
            lambda name: run(name, given.seconds, given.runs), given.names or NAMES
        ):
            results.append(result)
            print(json.dumps(result), flush=True)
    if given.json:
        given.json.write_text(json.dumps(report(results), indent=1) + "\n")
    return int(any(result["failures"] for result in results))


if __name__ == "__main__":
    sys.exit(main())
