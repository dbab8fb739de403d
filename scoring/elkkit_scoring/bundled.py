"""The models that come with elkkit, and how a model is named on a command line."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from elkkit.assets import asset
from elkkit.errors import InputError


def models_folder() -> Path:
    """The folder of the bundled models: inside the installed package, or `scoring/models` of a checkout."""
    installed = Path(str(files("elkkit_scoring"))) / "_models"
    return installed if installed.is_dir() else asset("scoring", "models")


def bundled_models() -> tuple[str, ...]:
    """Names of the bundled models, sorted."""
    return tuple(sorted(card.stem for card in models_folder().glob("*.toml")))


def find_model(name: str) -> Path:
    """The file that a model's name stands for: an .onnx file, a card, or the name of a bundled model.

    Raises `InputError`, listing the bundled models, where there is none.
    """
    path = Path(name)
    if path.exists() or path.suffix in (".onnx", ".toml") or path.name != name:
        return path
    if name in bundled_models():
        return models_folder() / f"{name}.onnx"
    raise InputError(
        f"there is no model {name}",
        why=f"it is neither a file nor one of the bundled models: {', '.join(bundled_models())}",
        hint="give an .onnx file with its card beside it, or for example --model lane-a",
    )
