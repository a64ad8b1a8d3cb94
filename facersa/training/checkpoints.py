"""Training state on disk: safetensors shards and one JSON file, never pickle.

A checkpoint is a folder of tensor shards and ``state.json``, which names every
shard with its digest. Shards are written first, each under a new name; then
``state.json`` is replaced in one step, and only then are the old shards removed.
Whatever stops a save, the folder still holds one whole checkpoint: the new one
or the one before.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from facersa.errors import CheckpointError

STATE = "state.json"

PREFIX = "shard-"

FORMAT = "facersa-checkpoint-1"

SHARD_BYTES = 16 * 2**20

HEADER_ROOM = 512  # bytes that one tensor takes in a shard's header, at most


def save_state(
    folder: str | Path,
    step: int,
    tensors: Mapping[str, Tensor],
    meta: Mapping[str, Any],
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Write a checkpoint into ``folder``, in place of the one there.

    Args:
        folder: made if missing.
        step: how many training steps were done.
        tensors: on any device; names of at most 256 letters without "#".
        meta: whatever JSON holds, without NaN and infinities; keys become text
            and tuples lists (:func:`flatten` keeps both).
        shard_bytes: no file of tensors becomes larger; large tensors are split.

    Raises:
        CheckpointError: it cannot be written (the checkpoint before stays
            readable), or ``meta`` or a name is not as above.
    """
    folder = Path(folder)
    bad = [name for name in tensors if "#" in name or len(name.encode()) > 256]
    if bad:
        raise CheckpointError(
            f'tensor names have at most 256 letters and no "#", got {bad[0]!r}; '
            "rename it."
        )
    try:
        meta = json.loads(_canonical(meta))
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"meta must hold plain JSON values ({error}); put tensors in tensors."
        ) from error
    save_name = f"{step:09d}-{secrets.token_hex(4)}"
    temporary = folder / f"{STATE}.{save_name}"
    written = [temporary]
    shards: list[dict[str, str]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for shard in _shards(tensors, shard_bytes):
            path = folder / f"{PREFIX}{save_name}-{len(shards):03d}.safetensors"
            written.append(path)
            data = save(shard)
            _write(path, data)
            shards.append({"file": path.name, "sha256": _digest(data)})
        state: dict[str, Any] = {
            "format": FORMAT,
            "step": step,
            "shapes": {name: list(tensor.shape) for name, tensor in tensors.items()},
            "shards": shards,
            "meta": meta,
        }
        state["sha256"] = _digest(_canonical(state))
        _write(temporary, json.dumps(state, indent=1).encode())
        os.replace(temporary, folder / STATE)
    except BaseException as error:
        if not _is_current(folder, save_name):  # an interrupt can come that late
            for path in written:
                with suppress(OSError):
                    path.unlink()
        if isinstance(error, OSError):
            raise CheckpointError(
                f"cannot write a checkpoint into {folder} ({error.strerror}); free "
                "space or name another folder (what was there is kept)."
            ) from error
        raise
    _sync_folder(folder)
    _clean(folder, {shard["file"] for shard in shards})


def load_state(folder: str | Path) -> tuple[int, dict[str, Tensor], dict[str, Any]]:
    """The checkpoint in ``folder``: step, tensors (on the CPU) and meta.

    Raises:
        CheckpointError: there is none, or it is not whole.
    """
    folder = Path(folder)
    if not (folder / STATE).is_file():
        raise CheckpointError(
            f"{folder} holds no checkpoint ({STATE} is missing); "
            "name the folder of an earlier training run."
        )
    try:
        state = json.loads((folder / STATE).read_bytes())
        if state["format"] != FORMAT:
            raise ValueError(f"format {state['format']!r}, expected {FORMAT!r}")
        if state.pop("sha256") != _digest(_canonical(state)):
            raise ValueError(f"{STATE} does not fit its digest")
        pieces: dict[str, list[Tensor]] = {name: [] for name in state["shapes"]}
        for shard in state["shards"]:
            data = (folder / shard["file"]).read_bytes()
            if _digest(data) != shard["sha256"]:
                raise ValueError(f"{shard['file']} does not fit its digest")
            found = load(data)
            for name in sorted(found, key=_piece_number):
                pieces[name.partition("#")[0]].append(found[name])
        tensors = {
            name: torch.cat(pieces[name]).reshape(shape)
            for name, shape in state["shapes"].items()
        }
        return state["step"], tensors, state["meta"]
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        SafetensorError,
    ) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"the checkpoint in {folder} is damaged ({reason}); "
            "go back to a copy, or train again in a new folder."
        ) from error


def flatten(state: Any) -> tuple[dict[str, Tensor], Any]:
    """Nested dicts and lists with tensors to named tensors and a JSON value.

    Made for ``optimizer.state_dict()``, whose dicts have whole-number keys and
    whose groups hold tuples: all come back from :func:`unflatten` as they were.

    Raises:
        CheckpointError: something in it is neither tensor nor plain value.
    """
    tensors: dict[str, Tensor] = {}

    def describe(value: Any, name: str) -> Any:
        if isinstance(value, Tensor):
            if name in tensors:
                raise CheckpointError(f"two tensors are named {name!r}; rename one.")
            tensors[name] = value
            return {"tensor": name}
        if isinstance(value, Mapping):
            return {
                "dict": [[k, describe(v, inner(name, k))] for k, v in value.items()]
            }
        if isinstance(value, list | tuple):
            kind = "list" if isinstance(value, list) else "tuple"
            items = enumerate(value)
            return {kind: [describe(item, inner(name, i)) for i, item in items]}
        if value is None or isinstance(value, bool | int | float | str):
            return value
        raise CheckpointError(
            f"{name or 'the state'} is a {type(value).__name__}, expected tensors and "
            "plain values; leave it out."
        )

    def inner(name: str, key: Any) -> str:
        if not isinstance(key, str | int):
            raise CheckpointError(
                f"{name or 'the state'} has the key {key!r}, expected text or a whole "
                "number; change it."
            )
        return f"{name}.{key}" if name else str(key)

    described = describe(state, "")
    return tensors, described


def unflatten(tensors: Mapping[str, Tensor], described: Any) -> Any:
    """What :func:`flatten` took apart.

    Raises:
        CheckpointError: a tensor is missing.
    """
    if not isinstance(described, dict):
        return described
    ((kind, content),) = described.items()
    if kind == "tensor":
        if content not in tensors:
            raise CheckpointError(
                f"tensor {content!r} is missing; is the checkpoint of another model?"
            )
        return tensors[content]
    if kind == "dict":
        return {key: unflatten(tensors, item) for key, item in content}
    items = [unflatten(tensors, item) for item in content]
    return items if kind == "list" else tuple(items)


def _shards(
    tensors: Mapping[str, Tensor], shard_bytes: int
) -> Iterator[dict[str, Tensor]]:
    """Groups of flat pieces "name#number" of the tensors, in order."""
    group: dict[str, Tensor] = {}
    size = HEADER_ROOM
    for name, tensor in tensors.items():
        flat = tensor.detach().cpu().reshape(-1)
        most = max(1, (shard_bytes - 2 * HEADER_ROOM) // flat.element_size())
        for number, piece in enumerate(flat.split(most)):
            needed = piece.numel() * piece.element_size() + HEADER_ROOM
            if group and size + needed > shard_bytes:
                yield group
                group, size = {}, HEADER_ROOM
            # A copy: a file cannot hold views of shared storage.
            group[f"{name}#{number}"] = piece.clone()
            size += needed
    if group:
        yield group


def _piece_number(name: str) -> int:
    return int(name.partition("#")[2])


def _canonical(value: Any) -> bytes:
    """The same bytes for the same JSON value, before and after a round trip."""
    return json.dumps(value, sort_keys=True, allow_nan=False).encode()


def _write(path: Path, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    with suppress(OSError):  # not every system can open a folder
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _is_current(folder: Path, save_name: str) -> bool:
    with suppress(OSError):
        return f'"{PREFIX}{save_name}-' in (folder / STATE).read_text()
    return False


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _clean(folder: Path, keep: set[str]) -> None:
    """Remove our files of older checkpoints and of saves that were cut short."""
    for pattern in (f"{PREFIX}*.safetensors", f"{STATE}.*"):
        for path in folder.glob(pattern):
            if path.name not in keep:
                with suppress(OSError):  # the checkpoint is whole all the same
                    path.unlink()
