"""Checkpoints: what is saved comes back; what stops a save loses nothing."""

from __future__ import annotations

import errno
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from facersa.errors import CheckpointError
from facersa.training import checkpoints
from facersa.training.checkpoints import flatten, load_state, save_state, unflatten


def many_tensors() -> dict[str, Tensor]:
    base = torch.randn(40, 30)
    return {
        "weight": base,
        "turned": base.T,
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


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    meta = {"name": "ü", "loss": 0.1 + 0.2, "list": [1, None, True, {"a": "b"}], "9": 1}
    tensors = many_tensors()
    save_state(tmp_path / "a" / "b", 12, tensors, meta)
    step, back, meta_back = load_state(tmp_path / "a" / "b")
    assert (step, meta_back) == (12, meta)
    assert same(back, tensors)
    assert not any(tensor.requires_grad for tensor in back.values())


def test_nothing_to_save_is_a_checkpoint_too(tmp_path: Path) -> None:
    save_state(tmp_path, 0, {}, {})
    assert load_state(tmp_path) == (0, {}, {})


def test_whole_number_keys_become_text_and_load(tmp_path: Path) -> None:
    save_state(tmp_path, 0, {}, {"by_step": {9: "a", 10: "b"}})  # type: ignore[dict-item]
    assert load_state(tmp_path)[2] == {"by_step": {"9": "a", "10": "b"}}


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


def test_a_new_checkpoint_replaces_the_old_and_only_that(tmp_path: Path) -> None:
    foreign = tmp_path / "generator.safetensors"
    foreign.write_bytes(b"mine")
    for step in (1, 2, 3):
        save_state(tmp_path, step, {"a": torch.full((4,), float(step))}, {})
    assert load_state(tmp_path)[0] == 3
    assert foreign.read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 3  # state, one shard, the foreign file


def test_leftovers_of_a_killed_save_go_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "shard-000000009-0badc0de-000.safetensors").write_bytes(b"half")
    (tmp_path / "state.json.000000009-0badc0de").write_bytes(b"{")
    save_state(tmp_path, 1, {"a": torch.ones(1)}, {})
    assert len(list(tmp_path.iterdir())) == 2


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


@pytest.mark.parametrize(
    ("function", "call"), [("fsync", 1), ("fsync", 2), ("fsync", 4), ("replace", 1)]
)
@pytest.mark.parametrize("error", [FULL, KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_one_before(
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
        broken = fail_on_call(call, error, getattr(os, function))
        patch.setattr(checkpoints.os, function, broken)
        expected = CheckpointError if error is FULL else KeyboardInterrupt
        with pytest.raises(expected):
            new = {name: -value for name, value in old.items()}
            save_state(tmp_path, 2, new, {"k": 2}, shard_bytes=14_000)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    step, tensors, meta = load_state(tmp_path)
    assert (step, meta) == (1, {"k": 1})
    assert same(tensors, old)


def test_an_interrupt_right_after_the_switch_keeps_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path, 1, {"a": torch.zeros(3)}, {})
    real = os.replace

    def replace_then_interrupt(*args: Any) -> None:
        real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.os, "replace", replace_then_interrupt)
        with pytest.raises(KeyboardInterrupt):
            save_state(tmp_path, 2, {"a": torch.ones(3)}, {})
    step, tensors, _ = load_state(tmp_path)
    assert step == 2
    assert torch.equal(tensors["a"], torch.ones(3))


def test_the_system_refusing_bytes_leaves_the_one_before(tmp_path: Path) -> None:
    save_state(tmp_path, 1, {"a": torch.ones(10)}, {})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        with pytest.raises(CheckpointError, match="free space or name another") as info:
            save_state(tmp_path, 2, {"a": torch.ones(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "\n" not in str(info.value)
    assert load_state(tmp_path)[0] == 1
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")
    with pytest.raises(CheckpointError, match="cannot write a checkpoint"):
        save_state(path, 1, {}, {})
    assert path.read_text() == "x"


@pytest.mark.parametrize(
    "meta", [{"a": object()}, {"a": float("nan")}, {"a": torch.ones(1)}, {(1, 2): 3}]
)
def test_meta_that_is_not_json_is_refused(tmp_path: Path, meta: Any) -> None:
    with pytest.raises(CheckpointError, match="plain JSON"):
        save_state(tmp_path / "new", 1, {}, meta)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["a#0", "a" * 257])
def test_names_that_would_clash_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(CheckpointError, match="tensor names"):
        save_state(tmp_path, 1, {name: torch.ones(1)}, {})


def test_no_checkpoint_is_said(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(CheckpointError, match="holds no checkpoint"):
            load_state(folder)


def test_every_changed_byte_is_noticed(tmp_path: Path) -> None:
    save_state(tmp_path, 5, {"a": torch.arange(6.0)}, {"loss": 0.25})
    for path in sorted(tmp_path.iterdir()):
        data = path.read_bytes()
        for place in range(0, len(data), 7):
            changed = bytearray(data)
            changed[place] ^= 0x11
            path.write_bytes(changed)
            try:
                step, tensors, meta = load_state(tmp_path)
            except CheckpointError as error:
                assert "\n" not in str(error)
            else:  # white space between JSON values may change
                assert (step, meta) == (5, {"loss": 0.25})
                assert torch.equal(tensors["a"], torch.arange(6.0))
                assert path.name == "state.json"
        path.write_bytes(data)
    assert load_state(tmp_path)[0] == 5


@pytest.mark.parametrize("content", ["", "[]", "3", "{}", '{"format": "x"}', "{"])
def test_a_foreign_state_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "state.json").write_text(content)
    with pytest.raises(CheckpointError, match="is damaged"):
        load_state(tmp_path)


def test_a_missing_or_short_shard_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path, 1, {"a": torch.ones(100)}, {})
    (shard,) = tmp_path.glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="does not fit its digest"):
        load_state(tmp_path)
    shard.unlink()
    with pytest.raises(CheckpointError, match="is damaged"):
        load_state(tmp_path)


plain = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
)
trees = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(trees)
def test_flatten_keeps_every_plain_tree(tree: Any) -> None:
    tensors, described = flatten(tree)
    assert tensors == {}
    back = unflatten({}, json.loads(json.dumps(described)))
    assert back == tree
    assert repr(back) == repr(tree)  # 1 and True, list and tuple are told apart


def test_flatten_names_tensors_by_their_place() -> None:
    tensors, described = flatten(
        {"state": {0: {"a": torch.ones(2)}}, "x": [torch.ones(1)]}
    )
    assert set(tensors) == {"state.0.a", "x.0"}
    back = unflatten(tensors, json.loads(json.dumps(described)))
    assert back["state"][0]["a"] is tensors["state.0.a"]
    with pytest.raises(CheckpointError, match=r"x\.0.* is missing"):
        unflatten({"state.0.a": torch.ones(2)}, described)


@pytest.mark.parametrize(
    "state",
    [
        {"a": object()},
        {"a": np.float64(1) + 1j},
        {1.5: "a"},
        {1: torch.ones(1), "1": torch.ones(1)},
    ],
)
def test_flatten_refuses_what_it_cannot_give_back(state: Any) -> None:
    with pytest.raises(CheckpointError):
        flatten(state)
