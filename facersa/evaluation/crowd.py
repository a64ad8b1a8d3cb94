"""Attacks on pictures alone: what a stranger with judges and a gallery can do.

A crowd of generated people is painted once, in clear and encrypted, and judged. What
comes after is arithmetic on embeddings, for every attack the same pictures:

- *find*: look up an encrypted picture in a gallery that has the person in clear;
- *link*: find the picture of the same person under another password;
- *average*: find by the mean of several encrypted pictures of one person;
- *learn a metric*: measure on other people what encryption changes in an embedding,
  give that less weight, and look up the rest.

Nobody here has a password, or a code.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from tqdm import tqdm

from facersa.cipher.base import Cipher
from facersa.cipher.description import label
from facersa.cipher.password import Password
from facersa.errors import CheckpointError, FaceRSAError
from facersa.evaluation.distinguishers import placed
from facersa.evaluation.results import Key, head, rows
from facersa.evaluation.rows import rank_one
from facersa.files import write_atomic
from facersa.generator.base import Generator
from facersa.generator.openvino import PREVIEW, Renderer
from facersa.judges.panel import Panel
from facersa.people import Stratum, people

FOLDS = 5  # of people, one of which is attacked by what was learned on the others
SHRINK = 0.1  # of the mean variance, added to each: few people measure many numbers
PROBES = 200  # people who are encrypted, each under two passwords
AVERAGED, PASSWORDS = 32, 8  # people with many encrypted pictures, and how many
EVERY = 25  # people after which the file is written
Codes = Callable[[int], Tensor]


@dataclass(frozen=True)
class Crowd:
    """What judges say of ``n`` people, the first ``m`` of whom are encrypted.

    Attributes:
        plain: by judge, (n, D) embeddings of the pictures in clear; NaN where no face
            is detected ("train" embeds every picture).
        encrypted: by judge, (m, 2, D), each person under two passwords of their own.
        many: by judge, (a, k, D): of the first a people, under k passwords; the first
            two are those of ``encrypted``.
    """

    plain: Mapping[str, Tensor]
    encrypted: Mapping[str, Tensor]
    many: Mapping[str, Tensor]


@torch.no_grad()
def paint_crowd(
    cipher: Cipher,
    generator: Generator,
    panel: Panel,
    *,
    n: int,
    seed: int = 0,
    stratum: Stratum = "W",
    psi: float = 0.85,
    probes: int = PROBES,
    averaged: int = AVERAGED,
    folder: Path | None = None,
    progress: bool = True,
) -> Crowd:
    """Paint (previews of 256 x 256 pixels) and judge ``n`` people.

    With a ``folder`` the judges' numbers are written there, and a stopped run goes on.
    Pictures in clear are the same for all ciphers, and kept once.

    Raises:
        CheckpointError: a file there is no such file, or of another run.
    """
    renderer, probes = Renderer(generator), min(probes, n)
    averaged = min(averaged, probes)
    where: dict[str, Any] = {
        "stratum": stratum,
        "psi": psi,
        "folder": folder,
        "progress": progress,
    }
    codes, plain = gallery(renderer, panel, n=n, seed=seed, **where)

    def encrypted(index: int) -> Tensor:
        first = PASSWORDS * (index + 1_000_000 * seed)
        count = PASSWORDS if index < averaged else 2
        passwords = [
            Password.random(cipher.num_bits, seed=first + k).code for k in range(count)
        ]
        ws = codes[index : index + 1].expand(count, -1, -1)
        return cipher(ws, torch.cat(passwords).to(ws))

    how = f"{stratum}, {psi}, {n}, {seed}, {probes}, {averaged} with {PASSWORDS}, "
    how += f"{label(cipher)}, {cipher.num_bits} bits"
    look = panel.embeddings
    name = f"crowd_{cipher.name}"
    flat = painted(encrypted, probes, renderer, look, name, how, folder, progress)
    hidden, many = {}, {}
    for judge, embeddings in flat.items():
        several, two = embeddings.split([averaged * PASSWORDS, 2 * (probes - averaged)])
        many[judge] = several.unflatten(0, (averaged, PASSWORDS))
        hidden[judge] = torch.cat([many[judge][:, :2], two.unflatten(0, (-1, 2))])
    return Crowd(plain, hidden, many)


def gallery(
    renderer: Renderer,
    panel: Panel,
    *,
    n: int,
    seed: int,
    stratum: Stratum,
    psi: float,
    folder: Path | None,
    progress: bool = True,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Codes (n, rows, D) of people, and by judge embeddings (n, D) of their pictures.

    Arguments as ``paint_crowd``.
    """
    codes = people(renderer.generator, stratum, psi, n, seed)
    how, one = f"{stratum}, {psi}, {n}, {seed}", codes.split(1)
    return codes, painted(
        one.__getitem__, n, renderer, panel.embeddings, "crowd", how, folder, progress
    )


def painted(
    codes: Codes,
    n: int,
    renderer: Renderer,
    look: Callable[[Tensor], dict[str, Tensor]],
    name: str,
    how: str,
    folder: Path | None = None,
    progress: bool = True,
) -> dict[str, Tensor]:
    """Paint the codes of ``n`` people and take down what ``look`` says of each picture.

    Args:
        codes: gives those of a person, (k, rows, D), by number.
        n: people.
        renderer: paints previews.
        look: a picture (1, 3, 256, 256) to named tensors.
        name: of the file and of the bar.
        how: says all that the file depends on.
        folder: keeps the file; a stopped run goes on with it.
        progress: show a bar.

    Returns:
        Each tensor of ``look`` for all pictures of all people in turn.

    Raises:
        CheckpointError: the file is none, or of another run.
    """
    keep = folder / f"{name}.safetensors" if folder else None
    parts, done = _load(keep, how) if keep and keep.exists() else (defaultdict(list), 0)
    left = range(done, n)
    for index in tqdm(left, desc=name, initial=done, total=n, disable=not progress):
        for face in renderer.stream(codes(index), PREVIEW):
            for part, tensor in look(face).items():
                parts[part].append(tensor)
        if keep and (index % EVERY == EVERY - 1 or index == n - 1):
            tensors = {part: torch.stack(every) for part, every in parts.items()}
            write_atomic(keep, save(tensors, {"how": how, "done": str(index + 1)}))
    return {part: torch.stack(every) for part, every in parts.items()}


def _load(path: Path, how: str) -> tuple[defaultdict[str, list[Tensor]], int]:
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            parts = {name: list(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        made, done = metadata.get("how"), int(metadata.get("done", 0))
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot read the pictures in {path} ({error}); delete it and start again."
        ) from error
    if made != how:
        raise CheckpointError(
            f"{path} holds another crowd ({made}), not {how}; name another folder."
        )
    return defaultdict(list, parts), done


def mean_direction(embeddings: Tensor) -> Tensor:
    """Embeddings (n, k, D) to the means (n, D) of those that are not NaN, as units."""
    return F.normalize(embeddings, dim=-1).nanmean(1)


def learned_metric(encrypted: Tensor, gallery: Tensor) -> Tensor:
    """Cosines of encrypted faces with a gallery, in a metric learned on other people.

    Public passwords do for learning. With p and e the embeddings of a person in clear
    and encrypted, each less its mean over people, the covariance of p - e says what
    encryption changes. In coordinates where that is white, a change counts little in
    the directions in which changes are usual.

    Args:
        encrypted: (m, D) embeddings, without NaN.
        gallery: (n, D) of the same people, and then of others.

    Returns:
        (m, n): a person's line comes from the metric of the folds without them.
    """
    gallery, encrypted = (F.normalize(x.double()) for x in (gallery, encrypted))
    m = len(encrypted)
    cosines = gallery.new_empty(m, len(gallery))
    for fold in range(FOLDS):
        tested = torch.arange(m) % FOLDS == fold
        p = gallery - gallery[:m][~tested].mean(0)
        e = encrypted - encrypted[~tested].mean(0)
        change = (p[:m] - e)[~tested]
        covariance = change.T @ change / len(change)
        noise = SHRINK * covariance.diagonal().mean()
        covariance += noise * torch.eye(len(covariance), dtype=e.dtype)
        whitener = torch.linalg.cholesky(torch.linalg.inv(covariance))
        known, probes = (F.normalize(x @ whitener) for x in (p, e[tested]))
        cosines[tested] = probes @ known.T
    return cosines


def diversity(one: Tensor, other: Tensor) -> list[float]:
    """Are two pictures of a person under two passwords more alike than two strangers?

    After the protocol of the sign flip (arXiv 2510.01031): the distance between the
    similarities across keys and those of strangers. Here it is an area under the ROC
    curve: .5 is as different as two strangers are, 1 is always more alike.

    Args:
        one: (m, D) embeddings; NaN where no face was detected.
        other: (m, D) of the same people under another password.

    Returns:
        For each person the share of strangers' cosines that theirs exceeds, or NaN.
    """
    cosines = F.normalize(one.double()) @ F.normalize(other.double()).T
    own, apart = cosines.diagonal(), ~torch.eye(len(one), dtype=torch.bool)
    strangers = cosines[apart & cosines.isfinite()]
    return placed(own, strangers).double().where(own.isfinite(), torch.nan).tolist()


def attack_pictures(
    cipher: Cipher, crowd: Crowd, *, settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Every attack of this file on a crowd.

    Returns:
        A result, see ``results``. "property" is the attack, "pair" what it holds, and
        "rank1" whether the person is first among all n, which chance is 1 / n. Linked
        are pictures among those of the m people who were encrypted; "auc" is
        ``diversity``.

    Raises:
        FaceRSAError: fewer than ``FOLDS`` * 2 people with a detected face.
    """
    values: dict[Key, list[float]] = {}
    for judge, plain in crowd.plain.items():
        encrypted, many = crowd.encrypted[judge], crowd.many[judge]
        one, other = encrypted.unbind(1)
        values["find", "one picture", "rank1", judge] = rank_one(one, plain)
        values["link", "one picture", "rank1", judge] = rank_one(one, other)
        values["diversity", "two passwords", "auc", judge] = diversity(one, other)
        k = 2
        while k <= many.shape[1] and len(many):
            found = rank_one(mean_direction(many[:, :k]), plain)
            values["find", f"mean of {k} pictures", "rank1", judge] = found
            k *= 2
        seen = torch.cat([one, plain[: len(one)]], 1).isfinite().all(1)
        if int(seen.sum()) < 2 * FOLDS:
            raise FaceRSAError(
                f"the attacks need {2 * FOLDS} people with a detected face, got "
                f"{int(seen.sum())}; paint more."
            )
        gallery = torch.cat([plain[: len(one)][seen], plain[len(one) :]])
        gallery = gallery[gallery.isfinite().all(1)]
        first = learned_metric(one[seen], gallery).argmax(1)
        found = (first == torch.arange(len(first))).double().tolist()
        values["learned metric", "one picture", "rank1", judge] = found
    sizes = {"gallery": len(plain), "encrypted": len(encrypted)}
    start = head("pictures", cipher=label(cipher), settings=dict(settings or {}))
    return start | sizes | {"rows": rows(values)}
