"""The stack's files: in the wheel beside the package, in a checkout at their places."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path


def assets_root() -> Path:
    """The folder that holds `logstash/`, `filebeat/`, `kibana/`, `helm-values/` and `scoring/models/`."""
    package = Path(str(files("elkkit")))
    bundled = package / "_assets"
    return bundled if bundled.is_dir() else package.parent.parent


def asset(*parts: str) -> Path:
    """One of the stack's files or folders."""
    return assets_root().joinpath(*parts)
