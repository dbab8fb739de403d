"""Where elkkit keeps what it can fetch again, and what it cannot."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

CACHE_VARIABLE, STATE_VARIABLE = "ELKKIT_CACHE", "ELKKIT_STATE"


def cache_folder() -> Path:
    """What can be fetched again: jars. `ELKKIT_CACHE`, else the user's cache folder; it may not exist yet."""
    return Path(os.environ.get(CACHE_VARIABLE) or platformdirs.user_cache_dir("elkkit")).absolute()


def state_folder() -> Path:
    """What nobody can fetch again: stored events. `ELKKIT_STATE`, else the user's state folder; may not exist yet."""
    return Path(os.environ.get(STATE_VARIABLE) or platformdirs.user_state_dir("elkkit")).absolute()


def private(folder: Path) -> Path:
    """Make a folder, and those above it that are missing, for this user alone. Raises `OSError`."""
    for part in [*reversed(folder.parents), folder]:
        if not part.is_dir():
            part.mkdir(mode=0o700, exist_ok=True)
    return folder
