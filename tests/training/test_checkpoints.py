"""Checkpoints: what is saved is loaded; what stops a save loses nothing."""

from __future__ import annotations

import errno
import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from facersa.errors import CheckpointError, FaceRSAError
from facersa.training.checkpoints import load_state, save_state


def many_tensors() -> dict[str, Tensor]:
    base = torch.randn(40, 30)
    return {
        "weight": base,
        "transposed": base.T,
        "view": base[3:7],
        "half": torch.randn(5).half(),
        "brain": torch.randn(5).bfloat16(),
        "double": torch.randn(2, 2).double(),
        "count": torch.tensor(7),
        "flags": torch.tensor([True, False]),
        "bytes": torch.arange(9, dtype=torch.uint8),
        "empty": torch.zeros(0, 3),
        "learned": nn.Parameter(torch.randn(3)),
    }


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(
        a.dtype == theirs[k].dtype and torch.equal(a, theirs[k])
        for k, a in ours.items()
    )


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    meta = {"name": "ü", "loss": 0.1 + 0.2, "list": [1, None, True, {"a": "b"}], "9": 1}
    tensors = many_tensors()
    save_state(tmp_path / "a" / "b", 12, tensors, meta)
    step, loaded, loaded_meta = load_state(tmp_path / "a" / "b")
    assert (step, loaded_meta) == (12, meta)
    assert same(loaded, tensors)
    assert not any(tensor.requires_grad for tensor in loaded.values())


@pytest.mark.parametrize("limit", [2_000, 20_000, 2**20])
def test_no_file_is_larger_than_a_shard(tmp_path: Path, limit: int) -> None:
    tensors = {f"layer.{i}": torch.randn(40, 50) for i in range(12)}  # 8 kB each
    tensors["large"] = torch.randn(3, 7001)
    save_state(tmp_path, 1, tensors, {}, shard_bytes=limit)
    sizes = [path.stat().st_size for path in tmp_path.glob("*.safetensors")]
    assert max(sizes) <= limit
    assert len(sizes) >= sum(t.numel() * 4 for t in tensors.values()) / limit
    assert same(load_state(tmp_path)[1], tensors)


def test_the_default_shard_is_16_mebibytes(tmp_path: Path) -> None:
    save_state(tmp_path, 1, {"large": torch.zeros(5 * 2**20)}, {})
    sizes = [path.stat().st_size for path in tmp_path.glob("*.safetensors")]
    assert len(sizes) == 2
    assert max(sizes) <= 16 * 2**20


def test_a_new_checkpoint_replaces_the_old_and_the_remains_of_a_killed_save(
    tmp_path: Path,
) -> None:
    remains = ("shard-9-0bad-000.safetensors", ".shard-9-1bad.x7", ".state.json.x8")
    for name in remains:
        (tmp_path / name).write_bytes(b"half")
    for step in (1, 2, 3):
        save_state(tmp_path, step, {"a": torch.full((4,), float(step))}, {})
    assert load_state(tmp_path)[0] == 3
    assert len(list(tmp_path.iterdir())) == 2  # state.json and one shard


def fail_on_call(number: int, error: BaseException, real: Callable[..., Any]) -> Any:
    calls = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == number:
            raise error
        return real(*args, **kwargs)

    return wrapped


FULL = OSError(errno.ENOSPC, "No space left on device")


STOP = KeyboardInterrupt()
# Of writing shards and, last of all, the JSON, which replaces another. Where a link
# fails, the file is written in another way.
STEPS = [*itertools.product((FULL, STOP), ("fsync",), (1, 2, 4))]
STEPS += [*itertools.product((STOP,), ("link",), (1, 2, 4))]
STEPS += [*itertools.product((FULL, STOP), ("replace",), (1,))]


@pytest.mark.parametrize(("error", "function", "call"), STEPS)
def test_an_interrupted_save_leaves_the_old_checkpoint(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    function: str,
    call: int,
    error: BaseException,
) -> None:
    old = {"a": torch.randn(3000), "b": torch.randn(3000), "c": torch.randn(3000)}
    save_state(tmp_path, 1, old, {"k": 1}, shard_bytes=14_000)
    before = sorted(path.name for path in tmp_path.iterdir())
    assert len(before) == 4
    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail_on_call(call, error, getattr(os, function)))
        with pytest.raises(FaceRSAError if error is FULL else KeyboardInterrupt):
            new = {name: -value for name, value in old.items()}
            save_state(tmp_path, 2, new, {"k": 2}, shard_bytes=14_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    step, tensors, meta = load_state(tmp_path)
    assert (step, meta) == (1, {"k": 1})
    assert same(tensors, old)


def test_an_interrupt_right_after_the_rename_leaves_the_new_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path, 1, {"a": torch.zeros(3)}, {})
    real = os.replace

    def replace_then_interrupt(source: str, target: Path) -> None:
        real(source, target)
        if target.name == "state.json":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_then_interrupt)
        with pytest.raises(KeyboardInterrupt):
            save_state(tmp_path, 2, {"a": torch.ones(3)}, {})
    step, tensors, _ = load_state(tmp_path)
    assert step == 2
    assert torch.equal(tensors["a"], torch.ones(3))


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(CheckpointError, match="holds no checkpoint"):
            load_state(folder)


def test_every_changed_byte_of_a_shard_is_noticed(tmp_path: Path) -> None:
    save_state(tmp_path, 5, {"a": torch.arange(6.0)}, {"loss": 0.25})
    (shard,) = tmp_path.glob("*.safetensors")
    data = shard.read_bytes()
    for place in range(0, len(data), 7):
        changed = bytearray(data)
        changed[place] ^= 0x11
        shard.write_bytes(changed)
        with pytest.raises(CheckpointError, match=f"{shard.name} is damaged") as info:
            load_state(tmp_path)
        assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    "content",
    [
        *("", "[]", "3", "{}", "{", "[" * 20_000),
        '{"step": 1, "shapes": {}, "shards": [], "meta": {}}',
        '{"step": "1", "shapes": {}, "shards": {}, "meta": {}}',
        '{"step": 1, "shapes": {}, "shards": {}, "meta": 3}',
        '{"step": 1, "shapes": {"a": [3]}, "shards": {}, "meta": {}}',
    ],
)
def test_a_damaged_state_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"state\.json is damaged"):
        load_state(tmp_path)


def test_a_shard_is_a_file_of_the_folder(tmp_path: Path) -> None:
    outside = {"step": 1, "shapes": {}, "shards": {"/dev/zero": ""}, "meta": {}}
    (tmp_path / "state.json").write_text(json.dumps(outside))
    with pytest.raises(CheckpointError, match="not in this folder"):
        load_state(tmp_path)


def test_a_missing_or_short_shard_is_named(tmp_path: Path) -> None:
    save_state(tmp_path, 1, {"a": torch.ones(100)}, {})
    (shard,) = tmp_path.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"{shard.name} is damaged"):
        load_state(tmp_path)
    shard.unlink()
    with pytest.raises(CheckpointError, match=f"{shard.name} is damaged"):
        load_state(tmp_path)
