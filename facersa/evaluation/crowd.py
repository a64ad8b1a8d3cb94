"""Attacks on pictures alone: what a stranger with judges and a gallery can do.

A crowd of generated people is painted once, in clear and encrypted, and judged. What
comes after is arithmetic on embeddings, for every attack the same pictures:

- *find*: look up an encrypted picture in a gallery that has the person in clear;
- *link*: find the picture of the same person under another password;
- *average*: find by the mean of several encrypted pictures of one person;
- *learn a metric*: measure on other people what encryption changes in an embedding,
  give that less weight, and look up the rest;
- *detect*: tell encrypted pictures from plain ones.

Nobody here has a password, or a code.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
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
from facersa.evaluation.attacks import classifier_accuracy
from facersa.evaluation.results import Key, head, rows
from facersa.evaluation.rows import rank_one
from facersa.files import write_atomic
from facersa.generator.base import Generator
from facersa.generator.openvino import PREVIEW, Renderer
from facersa.judges.panel import Panel
from facersa.people import Stratum, people

FOLDS = 5  # of people, one of which is attacked by what was learned on the others
SHRINK = 0.1  # of the mean variance, added to each: few people measure many numbers
AVERAGED, PASSWORDS = 32, 16  # people with many encrypted pictures, and how many
EVERY = 25  # people after which the file is written


@dataclass(frozen=True)
class Crowd:
    """What judges say of ``n`` people.

    Attributes:
        plain: by judge, (n, D) embeddings of the pictures in clear; NaN where
            "heldout" finds no face ("train" embeds every picture).
        encrypted: by judge, (n, 2, D), each person under two passwords of their own.
        many: by judge, (a, k, D): of the first a people, under k passwords; the first
            two are those of ``encrypted``.
        features: (2, n, F) of a plain and an encrypted picture, see ``Panel.features``.
    """

    plain: Mapping[str, Tensor]
    encrypted: Mapping[str, Tensor]
    many: Mapping[str, Tensor]
    features: Tensor


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
    averaged: int = AVERAGED,
    keep: Path | None = None,
    progress: bool = True,
) -> Crowd:
    """Paint (previews of 256 x 256 pixels) and judge ``n`` people.

    With ``keep`` the judges' numbers are written there, and a stopped run goes on.

    Raises:
        CheckpointError: ``keep`` is no such file, or of another run.
    """
    judges = {"train": panel.identity.embed, "heldout": panel.heldout.embed}
    renderer, averaged = Renderer(generator), min(averaged, n)
    codes = people(generator, stratum, psi, n, seed)
    how = f"{label(cipher)}, {cipher.num_bits} bits, {stratum}, {psi}, {n}, {seed}"
    how += f", {averaged} with {PASSWORDS}"
    parts = _load(keep, how) if keep and keep.exists() else defaultdict(list)
    done = len(parts["plain.features"])
    left = range(done, n)
    for index in tqdm(left, desc="crowd", initial=done, total=n, disable=not progress):
        ws = codes[index : index + 1]
        first = PASSWORDS * (index + 1_000_000 * seed)
        count = PASSWORDS if index < averaged else 2
        passwords = [
            Password.random(cipher.num_bits, seed=first + k).code for k in range(count)
        ]
        edited = cipher(ws.expand(count, -1, -1), torch.cat(passwords).to(ws))
        faces = renderer.stream(torch.cat([ws, edited]), PREVIEW)
        for number, face in enumerate(faces):
            kind = "encrypted" if number else "plain"
            for name, embed in judges.items():
                parts[f"{kind}.{name}"].append(embed(face)[0])
            if number < 2:
                parts[f"{kind}.features"].append(panel.features(face))
        if keep and (index % EVERY == EVERY - 1 or index == n - 1):
            tensors = {name: torch.stack(part) for name, part in parts.items()}
            write_atomic(keep, save(tensors, {"how": how}))
    whole = {name: torch.stack(part) for name, part in parts.items()}
    plain, encrypted, many = {}, {}, {}
    for name in judges:
        flat = whole[f"encrypted.{name}"]
        several, two = flat.split([averaged * PASSWORDS, 2 * (n - averaged)])
        many[name] = several.unflatten(0, (averaged, PASSWORDS))
        encrypted[name] = torch.cat([many[name][:, :2], two.unflatten(0, (-1, 2))])
        plain[name] = whole[f"plain.{name}"]
    features = torch.stack([whole["plain.features"], whole["encrypted.features"]])
    return Crowd(plain, encrypted, many, features)


def _load(path: Path, how: str) -> defaultdict[str, list[Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            made = (file.metadata() or {}).get("how")
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"cannot read the crowd in {path} ({error}); delete it and start again."
        ) from error
    if made != how:
        raise CheckpointError(
            f"{path} holds another crowd ({made}), not {how}; name another file."
        )
    parts = {name: list(tensor) for name, tensor in tensors.items()}
    return defaultdict(list, parts)


def mean_direction(embeddings: Tensor) -> Tensor:
    """Embeddings (n, k, D) to the means (n, D) of those that are not NaN, as units."""
    return F.normalize(embeddings, dim=-1).nanmean(1)


def learned_metric(encrypted: Tensor, plain: Tensor) -> Tensor:
    """Cosines of encrypted faces with a gallery, in a metric learned on other people.

    Public passwords do for learning. With p and e the embeddings of a person in clear
    and encrypted, each less its mean over people, the covariance of p - e says what
    encryption changes. In coordinates where that is white, a change counts little in
    the directions in which changes are usual.

    Args:
        encrypted: (n, D) embeddings, without NaN.
        plain: (n, D) of the same people: the gallery.

    Returns:
        (n, n): a person's line comes from the metric of the folds without them.
    """
    plain, encrypted = (F.normalize(x.double()) for x in (plain, encrypted))
    cosines = plain.new_empty(len(plain), len(plain))
    for fold in range(FOLDS):
        tested = torch.arange(len(plain)) % FOLDS == fold
        centre = plain[~tested].mean(0), encrypted[~tested].mean(0)
        p, e = plain - centre[0], encrypted - centre[1]
        change = (p - e)[~tested]
        covariance = change.T @ change / len(change)
        noise = SHRINK * covariance.diagonal().mean()
        covariance += noise * torch.eye(len(covariance), dtype=plain.dtype)
        whitener = torch.linalg.cholesky(torch.linalg.inv(covariance))
        gallery, probes = (F.normalize(x @ whitener) for x in (p, e[tested]))
        cosines[tested] = probes @ gallery.T
    return cosines


def attack_pictures(
    cipher: Cipher, crowd: Crowd, *, settings: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Every attack of this file on a crowd.

    Returns:
        A result, see ``results``. "property" is the attack, "pair" what it holds,
        "rank1" whether the person is first among all n, which chance is 1 / n, and
        "accuracy" the share of pictures that a detector names rightly, which chance
        is one half.

    Raises:
        FaceRSAError: fewer than ``FOLDS`` * 2 people with a detected face.
    """
    values: dict[Key, list[float]] = {}
    for judge, plain in crowd.plain.items():
        encrypted, many = crowd.encrypted[judge], crowd.many[judge]
        values["find", "one picture", "rank1", judge] = rank_one(encrypted[:, 0], plain)
        found = rank_one(encrypted[:, 0], encrypted[:, 1])
        values["link", "one picture", "rank1", judge] = found
        k = 2
        while k <= many.shape[1] and len(many):
            probes = mean_direction(many[:, :k])
            found = rank_one(probes, plain)
            values["find", f"mean of {k} pictures", "rank1", judge] = found
            k *= 2
    for judge, plain in crowd.plain.items():
        known = crowd.encrypted[judge][:, 0]
        seen = torch.cat([known, plain], 1).isfinite().all(1)
        if int(seen.sum()) < 2 * FOLDS:
            raise FaceRSAError(
                f"the attacks need {2 * FOLDS} people with a detected face, got "
                f"{int(seen.sum())}; paint more."
            )
        first = learned_metric(known[seen], plain[seen]).argmax(1)
        found = (first == torch.arange(len(first))).double().tolist()
        values["learned metric", "one picture", "rank1", judge] = found
    size = len(crowd.features[0])
    for count in dict.fromkeys((*(m for m in (50, 100, 200, 400) if m < size), size)):
        accuracy = classifier_accuracy(*crowd.features[:, :count])
        pair = f"{2 * count} pictures"
        values["detect", pair, "accuracy", None] = accuracy.tolist()
    start = head("pictures", cipher=label(cipher), settings=dict(settings or {}))
    return start | {"gallery": size, "rows": rows(values)}
