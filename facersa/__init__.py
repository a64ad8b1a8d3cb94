"""FaceRSA: reversible, password-controlled face anonymisation.

The names below are the public ones; everything else may change. They are
loaded when first used, so that ``import facersa`` is quick.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from facersa.alignment import align
    from facersa.errors import FaceRSAError
    from facersa.generator import load_generator
    from facersa.images import load_image
    from facersa.password import Password
    from facersa.pipeline import FaceRSA
    from facersa.projection import project
    from facersa.rotation import RotationCipher

__all__ = [
    "FaceRSA",
    "FaceRSAError",
    "Password",
    "RotationCipher",
    "align",
    "load_generator",
    "load_image",
    "project",
]
__version__ = version("facersa")

_HOMES = {
    "FaceRSA": "pipeline",
    "FaceRSAError": "errors",
    "Password": "password",
    "RotationCipher": "rotation",
    "align": "alignment",
    "load_generator": "generator",
    "load_image": "images",
    "project": "projection",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'facersa' has no attribute {name!r}")
    return getattr(import_module(f"facersa.{_HOMES[name]}"), name)
