"""Photographs as large as cameras make them, and how much memory a command takes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from skimage import data


class Cost(NamedTuple):
    """What a process took: GiB of memory at most, and seconds of a CPU."""

    peak: float
    seconds: float


def save_large_photo(path: Path, width: int, height: int) -> None:
    """Eileen Collins, as high as the picture, beside blurred noise."""
    noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3))
    cubic = Image.Resampling.BICUBIC
    picture = Image.fromarray(noise.astype(np.uint8)).resize((width, height), cubic)
    face = Image.fromarray(data.astronaut()).resize((height, height), cubic)
    picture.paste(face, ((width - height) // 2, 0))
    picture.save(path, quality=92)


# A new process starts with the peak of the one that starts it, which for a worker
# of pytest is gigabytes: so a small one starts it, waits, and prints what it took.
LAUNCHER = """
import os, sys
pid = os.posix_spawn(sys.executable, sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss / 2**20,
      usage.ru_utime + usage.ru_stime)
"""


def cost(*arguments: object) -> Cost:
    """Run a command of ``facersa`` in a process of its own, with a password."""
    command = [sys.executable, "-m", "facersa", *map(str, arguments)]
    launched = subprocess.run(
        [sys.executable, "-S", "-c", LAUNCHER, *command],
        env=os.environ | {"FACERSA_PASSWORD": "apple"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    returncode, peak, seconds = launched.stdout.splitlines()[-1].split()
    if int(returncode):
        raise RuntimeError(f"facersa {arguments[0]} failed; see its message above.")
    return Cost(float(peak), float(seconds))
