"""How large the images are, and what every Dockerfile keeps to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks.figures import ROOT
from benchmarks.operations.dockerfile import FOLDER, IMAGES, read_image
from benchmarks.operations.images import LARGEST_MB, MB, size_of

_ALL = sorted(path.name.removesuffix(".Dockerfile") for path in FOLDER.glob("*.Dockerfile"))


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_no_larger_than_the_page_says(name: str) -> None:
    """What a Dockerfile copies and installs, added up, is within the size that docs/deploy.md states."""
    size = size_of(read_image(name))
    assert size.ours > 0.2 * MB
    assert size.packages > 40 * MB
    assert size.total <= LARGEST_MB[name] * MB, f"{size.total / MB:.0f} MB; most of it: {size.largest}"


def test_the_page_states_these_sizes() -> None:
    """docs/deploy.md has each image's limit."""
    page = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    told = {
        name: float(limit) for name, limit in re.findall(r"^\| `tessera/([a-z-]+)` \| ([0-9]+) MB", page, re.MULTILINE)
    }
    assert told == LARGEST_MB


@pytest.mark.parametrize("name", _ALL)
def test_every_image_is_built_apart_and_run_by_nobody_special(name: str) -> None:
    """Compilers and caches stay in the first stage; the last one copies one folder out of it and runs as a number that
    is not 0, which Kubernetes can check without a password file."""
    image = read_image(name)
    assert len(image.stages) == 2
    assert image.build.name == "build"
    assert image.final.copies == [("--from=build", "/opt/tessera", "/opt/tessera")]
    assert image.final.user == "10001:10001"
    assert not any("apt-get" in run or "pip" in run for run in image.final.runs)
    assert image.final.base == image.build.base == "python:3.11-slim-bookworm"


@pytest.mark.parametrize("name", [name for name in _ALL if name != "tools"])
def test_every_service_says_how_it_is(name: str) -> None:
    """Each has a health check on the port that it exposes first, and starts Python without its folder."""
    final = read_image(name).final
    assert final.healthcheck[-1] == f"127.0.0.1:{final.ports[0]}"
    assert final.entrypoint[:3] == ("/opt/tessera/bin/python", "-P", "-m")
    assert (ROOT / final.entrypoint[3] / "__main__.py").is_file()


def test_what_is_copied_gets_into_the_build() -> None:
    """.dockerignore lets through what a Dockerfile copies, and neither the repository's history nor its tests."""
    let_through = {
        line.removeprefix("!").strip()
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    }
    for name in _ALL:
        copied = {source for source, _ in read_image(name).build.copies}
        assert copied <= let_through
        assert all((ROOT / source).exists() for source in copied)
    assert not {".git", "tests", ".venv"} & let_through


def test_nothing_names_a_registry() -> None:
    """Images are named without a host: whoever runs them says where theirs are."""
    found = []
    for path in sorted(Path(ROOT / "deploy").rglob("*")):
        if path.suffix in (".Dockerfile", ".yaml"):
            named = re.findall(r"(?m)^\s*(?:FROM|-?\s*image:)\s+(\S+)", path.read_text(encoding="utf-8"))
            found += [(path.name, image) for image in named if "." in image.split("/")[0].split(":")[0]]
    assert found == []
