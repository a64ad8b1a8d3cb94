"""Attacks that learn from many pictures: a detector, and a network that inverts.

The program is public, so an attacker makes as many encrypted pictures as training
takes, of people whom nobody looks for, under random passwords. An encoder reads a code
from every picture (``inversion.encoder``, one pass). Then

- a *detector* is fitted, which tells encrypted pictures from plain ones;
- a *trained inverse* is: a network from the code that was read to the person's own.

The inverse wants more examples than can be painted. So the error of the reading is
measured on the painted people, and added to the codes of drawn ones.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facersa.cipher.base import Cipher
from facersa.cipher.description import label
from facersa.cipher.password import Password
from facersa.errors import FaceRSAError
from facersa.evaluation.attacks import classifier_accuracy
from facersa.evaluation.crowd import gallery, painted
from facersa.evaluation.results import Key, head, rows
from facersa.evaluation.rows import rank_one
from facersa.generator.base import Generator
from facersa.generator.openvino import PREVIEW, Renderer
from facersa.generator.statistics import WStatistics
from facersa.inversion.inverter import Inverter
from facersa.judges.calibration import calibration
from facersa.judges.panel import Panel
from facersa.people import training_seeds
from facersa.training.chains import fresh_codes
from facersa.training.loop import seeded

GALLERY, TESTED = 500, 100  # people; the first of them are attacked by the inverse
DRAWN, STEPS, BATCH, HIDDEN = 10_000, 600, 128, 512  # of the inverse's training
SIZES = (100, 500)  # people that a detector sees, and at last all
LEARNING_RATE = 5e-4


class Inverse(nn.Module):
    """Whitened rows that were read (B, rows, D) to the person's whitened w (B, D).

    A weighted mean of the rows, which is what copying a row does, and a correction by
    a network of two hidden layers.
    """

    def __init__(self, num_ws: int, w_dim: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.full((num_ws,), 1 / num_ws))
        self.mix = nn.Linear(num_ws, 4, bias=False)
        layers = nn.Linear(4 * w_dim, hidden), nn.Linear(hidden, hidden)
        self.body = nn.Sequential(layers[0], nn.GELU(), layers[1], nn.GELU())
        self.last = nn.Linear(hidden, w_dim)
        nn.init.zeros_(self.last.weight)

    def forward(self, z: Tensor) -> Tensor:
        """See the class."""
        mixed = self.mix(z.transpose(1, 2)).flatten(1)
        return self.mean @ z + self.last(self.body(mixed))


class Reading:
    """What the encoder makes of codes: rows mixed with one another, and an error.

    Args:
        codes: (n, rows, D) whitened, of painted pictures.
        read: (n, rows, D) what was read from these.
    """

    def __init__(self, codes: Tensor, read: Tensor) -> None:
        self.centre, self.offset = codes.mean(0), read.mean(0)
        x, y = codes - self.centre, read - self.offset
        flat = x.transpose(1, 2).flatten(0, 1), y.transpose(1, 2).flatten(0, 1)
        self.mix = torch.linalg.lstsq(*flat).solution.T  # (rows, rows)
        self.errors = y - self.mix @ x

    def read(self, codes: Tensor, random: torch.Generator) -> Tensor:
        """Codes (B, rows, D) as if they had been painted and read."""
        picks = torch.randint(len(self.errors), (len(codes),), generator=random)
        return self.offset + self.mix @ (codes - self.centre) + self.errors[picks]


def train_inverse(
    cipher: Cipher,
    drawn: Tensor,
    reading: Reading,
    stats: WStatistics,
    *,
    steps: int = STEPS,
    seed: int = 0,
) -> Inverse:
    """Train on drawn people (n, 1, D) in W, each time under another password."""
    random = torch.Generator().manual_seed(seed)
    with seeded(seed):
        network = Inverse(len(reading.offset), drawn.shape[2])
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    pace = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        ws = drawn[torch.randint(len(drawn), (BATCH,), generator=random)]
        ws = ws.repeat(1, len(reading.offset), 1)
        with torch.no_grad():
            (password,) = fresh_codes(1, BATCH, cipher.num_bits, random)
            edited = cipher(ws, password)
            read = reading.read(stats.whiten(edited).float(), random)
            target = stats.whiten(ws[:, 0]).float()
        loss = F.mse_loss(network(read), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        pace.step()
    return network.eval()


def views(features: Tensor, read: Tensor) -> dict[str, Tensor]:
    """What a detector may look at, (n, F) each: the picture, the code, its rows.

    The last one is the products of all pairs of rows: in the code of one person they
    agree.
    """
    agreement = (read @ read.transpose(1, 2) / read.shape[2]).flatten(1)
    found = {
        "the picture": features,
        "the code": read.flatten(1),
        "its rows": agreement,
    }
    return found | {"all of it": torch.cat(list(found.values()), 1)}


def attack_learned(
    cipher: Cipher,
    generator: Generator,
    panel: Panel,
    *,
    n: int = 1000,
    seed: int = 0,
    psi: float = 0.85,
    folder: Path | None = None,
    drawn: int = DRAWN,
    progress: bool = True,
) -> dict[str, Any]:
    """Train both on ``n`` painted people, and test them on other people.

    Args:
        cipher: public.
        generator: paints previews.
        panel: judges, which neither learns from.
        n: people whose pictures train, one in clear and one encrypted each.
        seed: draws people and passwords.
        psi: truncation of the people.
        folder: keeps what was read, so that a stopped run, or a larger one, can go on.
        drawn: people who are not painted, for the inverse.
        progress: show bars.

    Returns:
        A result, see ``results``. "detect": "accuracy" is the share of pictures of
        people who were held out that are named rightly, chance one half; the pair says
        what a linear classifier looks at, and on how many pictures it was
        cross-validated. "invert": whether a judge takes the result for the person
        ("same_person", at a false match rate of 1 %) and finds the person first in the
        gallery ("rank1"); the pair is the encrypted picture as it is, the mean of the
        unedited rows that were read, or the trained inverse.

    Raises:
        FaceRSAError: fewer than 2 people.
    """
    if n < 2:
        raise FaceRSAError(f"a detector needs 2 people or more, got {n}; add some.")
    renderer, stats = Renderer(generator), WStatistics.of(generator)
    encoder = Inverter(generator).encoder
    if encoder is None:
        raise FaceRSAError("no encoder reads this generator's pictures; use another.")
    with torch.no_grad():
        seeds = training_seeds(seed, max(drawn, n))
        crowd = generator.sample(seeds, psi)[:, :1].clone()
    first = 10_000_000 * (seed + 1)

    def edited(ws: Tensor, number: int) -> Tensor:
        return cipher(ws, Password.random(cipher.num_bits, seed=first + number).code)

    def look(face: Tensor) -> dict[str, Tensor]:
        return {"features": panel.features(face), "code": encoder(face)[0]}

    def pair(index: int) -> Tensor:
        ws = crowd[index : index + 1].repeat(1, generator.num_ws, 1)
        return torch.cat([ws, edited(ws, index)])

    with torch.no_grad():
        how = f"{label(cipher)}, {cipher.num_bits} bits, {psi}, {seed}, {len(crowd)}"
        name = f"read_{cipher.name}"
        seen = painted(pair, n, renderer, look, name, how, folder, progress)
        read = stats.whiten(seen["code"]).float().unflatten(0, (-1, 2))[:n]
        features = seen["features"].unflatten(0, (-1, 2))[:n]
        values = _detected(features, read)
        size, tested = GALLERY, min(n, TESTED, GALLERY)
        where: dict[str, Any] = {
            "stratum": "W",
            "psi": psi,
            "folder": folder,
            "progress": progress,
        }
        codes, known = gallery(renderer, panel, n=size, seed=seed, **where)
        shown = torch.cat([pair(k)[1:] for k in range(n)])
        reading = Reading(stats.whiten(shown).float(), read[:, 1])
    network = train_inverse(cipher, crowd, reading, stats, seed=seed)
    free = [row for row in range(codes.shape[1]) if row not in cipher.layers]
    probes: dict[str, list[dict[str, Tensor]]] = defaultdict(list)
    with torch.no_grad():
        for index in range(tested):
            ws = edited(codes[index : index + 1], len(crowd) + index)
            (face,) = renderer.stream(ws, PREVIEW)
            z = stats.whiten(encoder(face)).float()
            probes["encrypted"].append(panel.embeddings(face))
            guesses = {"rows copied": z[:, free].mean(1), "trained inverse": network(z)}
            for case, guess in guesses.items():
                ws = generator.broadcast(stats.unwhiten(guess).float())
                probes[case].append(panel.embeddings(renderer.preview(ws)))
    values |= _recognised(probes, known, psi)
    settings = {"n": n, "psi": psi, "gallery": size, "tested": tested, "drawn": drawn}
    settings |= {"steps": STEPS, "batch": BATCH}
    start = head("learned", cipher=label(cipher), settings=settings, seed=seed)
    return start | {"rows": rows(values)}


def _detected(features: Tensor, read: Tensor) -> dict[Key, list[float]]:
    """The detector's rows, of people (n, 2, ...) in clear and encrypted."""
    values: dict[Key, list[float]] = {}
    n = len(read)
    for kind, view in views(features.flatten(0, 1), read.flatten(0, 1)).items():
        for count in dict.fromkeys((*(m for m in SIZES if m < n), n)):
            plain, hidden = view[: 2 * count : 2], view[1 : 2 * count : 2]
            case = f"{kind}, {2 * count} pictures"
            accuracy = classifier_accuracy(plain, hidden)
            values["detect", case, "accuracy", None] = accuracy.tolist()
    return values


def _recognised(
    probes: Mapping[str, Sequence[Mapping[str, Tensor]]],
    known: Mapping[str, Tensor],
    psi: float,
) -> dict[Key, list[float]]:
    """The inverse's rows: the first people of a gallery (n, D), by case and judge."""
    values: dict[Key, list[float]] = {}
    for case, judge in product(probes, known):
        found = torch.stack([one[judge] for one in probes[case]])
        values["invert", case, "rank1", judge] = rank_one(found, known[judge])
        scale = calibration(judge, "W", psi)
        cosines = F.cosine_similarity(found, known[judge][: len(found)])
        accepted = [float(scale.same_person(cosine)) for cosine in cosines]
        values["invert", case, "same_person", judge] = accepted
    return values
