"""FaceRSA: reversible, password-controlled face anonymisation.

The names below are the public ones; everything else may change. They are
loaded when first used, so that ``import facersa`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facersa.cipher.catalogue import load_cipher
    from facersa.cipher.password import Password
    from facersa.cipher.rotation import RotationCipher
    from facersa.errors import FaceRSAError
    from facersa.generator.load import load_generator
    from facersa.inversion.search import project
    from facersa.photo.align import align
    from facersa.photo.images import load_image
    from facersa.pipeline import FaceRSA

__all__ = [
    "FaceRSA",
    "FaceRSAError",
    "Password",
    "RotationCipher",
    "align",
    "load_cipher",
    "load_generator",
    "load_image",
    "project",
]
__version__ = version("facersa")

_HOMES = {
    "FaceRSA": "pipeline",
    "FaceRSAError": "errors",
    "Password": "cipher.password",
    "RotationCipher": "cipher.rotation",
    "align": "photo.align",
    "load_cipher": "cipher.catalogue",
    "load_generator": "generator.load",
    "load_image": "photo.images",
    "project": "inversion.search",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'facersa' has no attribute {name!r}")
    return getattr(import_module(f"facersa.{_HOMES[name]}"), name)
