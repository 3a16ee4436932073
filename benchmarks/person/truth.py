"""Who is where in each frame of the two clips: the hand-made truth under `truth/`, in the form of the cameras' one.

Boxes are of whole persons. A person who is seen again has the same name, however long after.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.cameras.face_truth import ClipTruth, load_truth

FOLDER = Path(__file__).parent / "truth"


def person_truths() -> list[ClipTruth]:
    """Both clips' truth, by file name."""
    return [load_truth(path) for path in sorted(FOLDER.glob("*.json"))]
