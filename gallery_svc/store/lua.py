"""The scripts that the store's servers run, as texts with their digests. What they do stands in `scripts/`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

_HEADER = "#!lua"


@dataclass(frozen=True, slots=True)
class Script:
    """One script: what EVAL takes, and the digest that EVALSHA takes."""

    text: str
    digest: str

    @classmethod
    def of(cls, text: str) -> Script:
        """A script with the digest that a server gives it."""
        return cls(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def load_scripts() -> dict[str, Script]:
    """Every file of `scripts/` by its name, with the prelude before its body.

    A file states its flags in its first line: `#!lua flags=allow-oom`. Without that line it has none. With this header
    a server checks memory, role and replicas before the script begins, so that a refusal means that nothing was done. A
    script without `allow-oom` is refused when the memory is full; those that free memory state it.

    Source: https://valkey.io/topics/eval-intro/ (script flags)
    """
    folder = resources.files("gallery_svc.store") / "scripts"
    prelude = (folder / "prelude.lua").read_text(encoding="utf-8")
    names = sorted(file.name.removesuffix(".lua") for file in folder.iterdir() if file.name.endswith(".lua"))
    texts = {name: (folder / f"{name}.lua").read_text(encoding="utf-8") for name in names if name != "prelude"}
    return {name: _script(prelude, text) for name, text in texts.items()}


def _script(prelude: str, text: str) -> Script:
    header, body = f"{_HEADER} flags=", text
    if text.startswith(_HEADER):
        header, _, body = text.partition("\n")
    return Script.of(f"{header}\n{prelude}{body}")
