"""Elements of HTML and SVG as text. Whatever is not an element already is escaped: names in data are hostile."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping

_VOID = {"br", "hr", "meta"}
_SELF_CLOSING = {"circle", "line", "path", "rect"}


class Markup(str):
    """Text that is an element, or several; made by `element` and `together` alone."""

    __slots__ = ()


Child = str | Markup | None
Attributes = Mapping[str, str | float | None]


def element(name: str, attributes: Attributes | None = None, *children: Child) -> Markup:
    """One element.

    Args:
        name: of the tag; never out of data.
        attributes: their values are escaped; None leaves one out, numbers lose digits that no screen shows.
        children: text is escaped; None is nothing.
    """
    shown = "".join(
        f' {key}="{html.escape(_attribute(value), quote=True)}"'
        for key, value in (attributes or {}).items()
        if value is not None
    )
    if name in _SELF_CLOSING and not children:
        return Markup(f"<{name}{shown}/>")
    if name in _VOID:
        return Markup(f"<{name}{shown}>")
    return Markup(f"<{name}{shown}>{together(children)}</{name}>")


def together(children: Iterable[Child]) -> Markup:
    """Several elements and texts, one after the other."""
    return Markup("".join(_safe(child) for child in children if child is not None))


def styles(text: str) -> Markup:
    """The page's own style sheet, which is no data and is not escaped."""
    return Markup(f"<style>{text}</style>")


def _safe(child: str) -> str:
    if isinstance(child, Markup):
        return child
    # What HTML forbids even as a reference, a browser may drop and a parser may not.
    return html.escape("".join(sign if sign.isprintable() or sign == "\n" else "�" for sign in child), quote=True)


def _attribute(value: str | float) -> str:
    if isinstance(value, str):
        return "".join(sign if sign.isprintable() else " " for sign in value)
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
