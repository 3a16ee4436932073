"""Rule files: one rule, a list of them, or several documents, in YAML or JSON.

Numbers with colons stay texts: YAML 1.1 would read the time 18:00 as the number 1080.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tessera.cli.failure import Failure
from tessera.domain.alerting.rule_text import rule_from, rule_to
from tessera.domain.alerting.rules import Rule
from tessera.domain.errors import InvalidInputError


class _Loader(yaml.SafeLoader):
    """YAML without numbers to the base of 60, and without dates."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag.rsplit(":", 1)[-1] not in ("int", "float", "timestamp")]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9]\d*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+\.\d+$"), list("-+0123456789"))


def read_rules(path: Path) -> list[Rule]:
    """The rules of a file.

    Raises:
        Failure: the file cannot be read, or one of its rules is none; the field is named.
    """
    try:
        documents = list(yaml.load_all(path.read_text(encoding="utf-8"), Loader=_Loader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        message = f"{path} is no rule file: {error}"
        raise Failure(message, field="FILE", value=str(path), allowed="YAML or JSON") from None
    told = [rule for document in documents for rule in (document if isinstance(document, list) else [document])]
    if not told or told == [None]:
        raise Failure(f"{path} has no rules", field="FILE", value=str(path), allowed="at least one rule")
    rules = [_rule(path, number, each) for number, each in enumerate(told, 1)]
    names = [rule.rule_id for rule in rules]
    twice = next((name for name in names if names.count(name) > 1), "")
    if twice:
        raise Failure(f"{path} has two rules {twice}", field="rule_id", value=twice, allowed="each id once")
    return rules


def rule_as_file(rule: Rule) -> str:
    """A rule as YAML; what is usual is left out."""
    return yaml.safe_dump(rule_to(rule), sort_keys=False, allow_unicode=True).rstrip()


def _rule(path: Path, number: int, told: Any) -> Rule:  # noqa: ANN401 - from a file
    try:
        return rule_from(told)
    except InvalidInputError as error:
        name = told.get("rule_id", "") if isinstance(told, dict) else ""
        message = f"{path}, rule {number}{f' ({name})' if name else ''}: {error}"
        raise Failure(message, field=error.field, value=str(error.value), allowed=error.allowed) from None
