"""Training state on disk: safetensors shards and one JSON file, never pickle.

New shards are written, then ``state.json``, which names them, is replaced by a rename,
then old shards are removed: whatever stops a save, one whole checkpoint is left.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from facersa.errors import CheckpointError
from facersa.files import write_atomic

STATE = "state.json"
SHARD_BYTES = 16 * 2**20  # a file of tensors is not larger
HEADER_ROOM = 512  # bytes that one tensor takes in a shard's header, at most


def save_state(
    folder: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write tensors and plain JSON values into ``folder``, in place of what is there.

    Raises:
        FaceRSAError: a file cannot be written; the old checkpoint stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = f"shard-{step:09d}-{secrets.token_hex(4)}"
    shards: dict[str, str] = {}
    try:
        for shard in _shards(tensors, shard_bytes):
            data, file = save(shard), f"{name}-{len(shards):03d}.safetensors"
            write_atomic(folder / file, data)
            shards[file] = sha256(data).hexdigest()
        shapes = {key: list(tensor.shape) for key, tensor in tensors.items()}
        state = {"step": step, "shapes": shapes, "shards": shards, "meta": meta}
        write_atomic(folder / STATE, json.dumps(state, indent=1).encode())
    finally:  # whichever checkpoint is there now, remove the files of all others
        current = folder / STATE
        kept = json.loads(current.read_bytes())["shards"] if current.exists() else {}
        for path in (*folder.glob("*shard-*"), *folder.glob(f".{STATE}.*")):
            if path.name not in kept:
                path.unlink()


def load_state(folder: Path) -> tuple[int, dict[str, Tensor], dict[str, Any]]:
    """Step, tensors (on the CPU) and JSON values of the checkpoint in ``folder``.

    Raises:
        CheckpointError: there is none, or a file of it is missing or damaged.
    """
    if not (folder / STATE).is_file():
        raise CheckpointError(f"{folder} holds no checkpoint; name a run's folder.")
    file = STATE
    try:
        state = json.loads((folder / STATE).read_bytes())
        shapes = state["shapes"]
        pieces: dict[str, list[Tensor]] = {name: [] for name in shapes}
        for file, digest in state["shards"].items():
            if Path(file).name != file:
                raise ValueError("it is not in this folder")
            data = (folder / file).read_bytes()
            if sha256(data).hexdigest() != digest:
                raise ValueError("its SHA-256 is not the stored one")
            for name, piece in load(data).items():
                pieces[name].append(piece)
        tensors = {n: torch.cat(pieces[n]).reshape(s) for n, s in shapes.items()}
        step, meta = state["step"], state["meta"]
        if type(step) is not int or not isinstance(meta, dict):
            raise TypeError(f"step {step!r} or its settings are of another kind")
        return step, tensors, meta
    except (
        *(OSError, ValueError, LookupError, TypeError, AttributeError),
        *(OverflowError, RuntimeError, SafetensorError),
    ) as error:  # RuntimeError: tensors that do not fit the shapes, or deep nesting
        raise CheckpointError(
            f"{folder / file} is damaged ({error}); restore a copy, or train again."
        ) from error


def _shards(tensors: Mapping[str, Tensor], most: int) -> Iterator[dict[str, Tensor]]:
    """Flat pieces of the tensors, in order, at most one piece of each in a shard."""
    shard: dict[str, Tensor] = {}
    size = HEADER_ROOM
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().reshape(-1)
        for piece in flat.split((most - 2 * HEADER_ROOM) // flat.element_size()):
            if name in shard or size + piece.nbytes + HEADER_ROOM > most:
                yield shard
                shard, size = {}, HEADER_ROOM
            shard[name] = piece.clone()  # a file cannot hold views of shared storage
            size += piece.nbytes + HEADER_ROOM
    yield shard
