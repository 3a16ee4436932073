"""A Dockerfile as far as ours go: its stages, and what the last of them has, sets and starts."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from benchmarks.figures import ROOT

FOLDER = ROOT / "deploy" / "docker"
IMAGES = ("encoder", "gallery", "ingest", "gateway", "tools")
"""Those that this machine can put together; encoder-cuda needs torch's CUDA build."""


@dataclass(slots=True)
class Stage:
    """From one FROM to the next."""

    base: str
    name: str
    copies: list[tuple[str, ...]] = field(default_factory=list)
    """The words of each COPY, options first."""
    runs: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=dict)
    user: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Image:
    """What a Dockerfile makes."""

    name: str
    stages: tuple[Stage, ...]

    @property
    def build(self) -> Stage:
        """Where it is installed."""
        return self.stages[0]

    @property
    def final(self) -> Stage:
        """What is run."""
        return self.stages[-1]

    @property
    def packages(self) -> tuple[str, ...]:
        """Our own packages that it installs: folders of this repository."""
        copied = (words[0] for words in self.build.copies if len(words) == 2)
        return tuple(one for one in copied if (ROOT / one / "__init__.py").is_file())

    @property
    def extras(self) -> tuple[str, ...]:
        """The extras of pyproject.toml that it installs."""
        found = re.search(r"'\.\[([a-z,-]+)\]'", " ".join(self.build.runs))
        return tuple(found[1].split(",")) if found else ()

    @property
    def removed(self) -> tuple[str, ...]:
        """Patterns of what it takes out of site-packages again."""
        runs = (run.partition("site-packages && rm -rf ")[2] for run in self.build.runs)
        return tuple(word for run in runs for word in run.partition(" && ")[0].split())


def read_image(name: str) -> Image:
    """The image of `deploy/docker/NAME.Dockerfile`.

    Raises:
        ValueError: it has an instruction that is not known here.
    """
    stages: list[Stage] = []
    for word, rest in _instructions((FOLDER / f"{name}.Dockerfile").read_text(encoding="utf-8")):
        if word == "FROM":
            base, _, stage = rest.partition(" AS ")
            stages.append(Stage(base.strip(), stage.strip()))
        else:
            _take(stages[-1], word, rest)
    return Image(name, tuple(stages))


def _take(stage: Stage, word: str, rest: str) -> None:
    match word:
        case "COPY":
            *sources, target = shlex.split(rest)
            stage.copies += [(source, target) for source in sources if not source.startswith("--")]
            if rest.startswith("--from"):
                stage.copies[-1] = (sources[0], *stage.copies[-1])
        case "RUN":
            stage.runs.append(rest)
        case "ENV":
            stage.environ |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        case "USER":
            stage.user = rest
        case "ENTRYPOINT":
            stage.entrypoint = tuple(json.loads(rest))
        case "CMD":
            stage.command = tuple(json.loads(rest))
        case "HEALTHCHECK":
            stage.healthcheck = tuple(json.loads(rest.partition("CMD ")[2]))
        case "EXPOSE":
            stage.ports = tuple(int(port) for port in rest.split())
        case "ARG" | "WORKDIR" | "VOLUME" | "STOPSIGNAL":
            pass
        case _:
            raise ValueError(f"{word} is an instruction that is not known here")


def _instructions(text: str) -> Iterator[tuple[str, str]]:
    lines = (line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        word, _, rest = line.partition(" ")
        yield word, rest.strip()
