"""A page of pairs, each marked POS or NEG, for a person to look at before anything is trained on them.

    python -m siamese_lab.data.contact_sheet --data DIR --source mnist --out pairs.html

A label that is wrong, a channel that is swapped, a pair that was made of one picture twice: eyes find that first. The
page holds pictures of the data set and may be passed on no further than the set itself.
"""

from __future__ import annotations

import argparse
import os
from base64 import b64encode
from html import escape
from pathlib import Path

import cv2
import numpy as np

from siamese_lab.data.pairs import Pairs, balanced_pairs, random_pairs
from siamese_lab.data.sources import SOURCES, LabelledImages, Split, load
from tessera.domain.errors import InvalidInputError
from tessera.imaging.pixels import Bytes

MAX_PAIRS = 400

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --paper: #fff; --pos: #0b5cad; --neg: #a8470b; }
@media (prefers-color-scheme: dark) { :root { --ink: #eee; --paper: #161616; --pos: #7db8f5; --neg: #f0a35e; } }
body { font: 15px/1.4 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 1.5rem; }
h1 { font-size: 1.3rem; margin: 0 0 .2rem; }
p { margin: 0 0 1rem; max-width: 48rem; }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(12.5rem, 1fr)); gap: .8rem; }
figure { margin: 0; padding: .5rem; border: 2px solid var(--neg); border-style: dashed; border-radius: 4px; }
figure.pos { border-color: var(--pos); border-style: solid; }
figure div { display: flex; gap: .3rem; }
img { image-rendering: pixelated; height: 84px; max-width: 50%; background: #888; }
figcaption { font-size: .8rem; overflow-wrap: anywhere; margin-top: .3rem; }
b { color: var(--neg); } .pos b { color: var(--pos); }
@media print { figure { break-inside: avoid; } }
"""


def page(images: LabelledImages, pairs: Pairs, title: str, caveat: str = "") -> str:
    """The page, whole in itself: no script, nothing fetched.

    Args:
        images: what the pairs index.
        pairs: up to 400.
        title: what is shown.
        caveat: what must be known of the pictures, if anything.

    Raises:
        InvalidInputError: there are more pairs.
    """
    if len(pairs) > MAX_PAIRS:
        raise InvalidInputError("pairs", len(pairs), f"at most {MAX_PAIRS} on a page")
    mated = int(pairs.mated.sum())
    told = f"{len(pairs)} pairs: {mated} POS (one class), {len(pairs) - mated} NEG (two classes). {caveat}"
    figures = "\n".join(_figure(images, pairs, row) for row in range(len(pairs)))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n'
        f"<body><h1>{escape(title)}</h1><p>{escape(told.strip())}</p>\n<main>\n{figures}\n</main></body></html>\n"
    )


def _figure(images: LabelledImages, pairs: Pairs, row: int) -> str:
    mated, both = bool(pairs.mated[row]), (int(pairs.first[row]), int(pairs.second[row]))
    shown = "".join(_shown(images, one) for one in both)
    names = " | ".join(f"{escape(images.names[images.labels[one]])} #{one}" for one in both)
    mark, kind = ("POS", "pos") if mated else ("NEG", "neg")
    return f'<figure class="{kind}"><div>{shown}</div><figcaption><b>{mark}</b> {names}</figcaption></figure>'


def _shown(images: LabelledImages, one: int) -> str:
    name = escape(images.names[images.labels[one]], quote=True)
    return (
        f'<img alt="{name}, picture {one}" src="data:image/png;base64,{b64encode(_png(images.images[one])).decode()}">'
    )


def _png(picture: Bytes) -> bytes:
    # Coded as it is: enlarging is left to the page, so that no pixel is made up.
    coloured = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.shape[2] == 3 else picture
    ok, png = cv2.imencode(".png", coloured)
    if not ok:
        raise RuntimeError("OpenCV wrote no PNG")
    return png.tobytes()


def main() -> None:
    """Write the page for one source."""
    options = _options()
    source = SOURCES[options.source]
    images = load(source.name, Path(options.data), Split(options.split))
    make = random_pairs if options.random else balanced_pairs
    pairs = make(images.labels, options.pairs, np.random.default_rng(options.seed))
    kind = "Random" if options.random else "Balanced"
    title = f"{kind} pairs of {source.name}, {options.split}, seed {options.seed}"
    options.out.write_text(page(images, pairs, title, source.caveat), encoding="utf-8")
    print(options.out)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A page of pairs, each marked POS or NEG.")
    parser.add_argument("--data", default=os.environ.get("TESSERA_DATA", ""), help="the folder with the source's files")
    parser.add_argument("--source", choices=list(SOURCES), default="mnist")
    parser.add_argument("--split", choices=[split.value for split in Split], default=Split.TRAIN.value)
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--random", action="store_true", help="a coin for each pair, in place of half and half")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("pairs.html"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
