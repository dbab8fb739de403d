"""Real engines for the tests: jars by Maven into the user's cache, or a skip that says what is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import platformdirs
import pytest

_POM = """<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>elkkit.tests</groupId><artifactId>{name}</artifactId><version>1</version><dependencies>{dependencies}
</dependencies></project>
"""
_DEPENDENCY = "<dependency><groupId>{}</groupId><artifactId>{}</artifactId><version>{}</version></dependency>"


def cache() -> Path:
    """Where engines are kept between runs."""
    return Path(os.environ.get("ELKKIT_CACHE") or platformdirs.user_cache_dir("elkkit")) / "engines"


def java() -> str:
    """The Java launcher, or a skip."""
    found = shutil.which("java")
    if found is None:
        pytest.skip("no Java here")
    return found


def jars(name: str, *coordinates: str) -> Path:
    """A folder with the jars of Maven coordinates (`group:artifact:version`) and what they need, or a skip."""
    home = cache() / name
    if (home / "complete").exists():
        return home
    maven = shutil.which("mvn")
    if maven is None:
        pytest.skip("no Maven here")
    home.mkdir(parents=True, exist_ok=True)
    pom = home / "pom.xml"
    wanted = "".join(_DEPENDENCY.format(*c.split(":")) for c in coordinates)
    pom.write_text(_POM.format(name=name, dependencies=wanted))
    goal = ["dependency:copy-dependencies", f"-DoutputDirectory={home}/lib", "-DincludeScope=runtime"]
    done = subprocess.run([maven, "-q", "-B", "-f", str(pom), *goal], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"Maven could not get {', '.join(coordinates)}:\n{done.stdout[-2000:]}{done.stderr[-500:]}")
    (home / "complete").touch()
    return home
