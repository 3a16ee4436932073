"""What an enrolment did, in words: each picture, whom the person looks like, and what can be done about it."""

from __future__ import annotations

from tessera.cli.words import quality_text, reason_text, threshold_text
from tessera.client.answers import DuplicateCandidate, Enrolment, SampleResult


def enrolment_text(enrolment: Enrolment, images: tuple[str, ...], asked_for: str) -> str:
    """What became of a person and of each picture.

    Args:
        enrolment: what was answered.
        images: the pictures' names, in order.
        asked_for: the subject that the caller named.
    """
    subject = enrolment.subject
    templates = count_text(len(subject.templates), "template")
    head = f"Enrolled {count_text(enrolment.accepted, 'picture')} of {subject.subject_id}, who now has {templates}"
    if enrolment.merged:
        head += f"; {asked_for} was not made, since the pictures already are of {subject.subject_id}"
    if enrolment.replayed:
        head += " (this request was done before; nothing was written now)"
    lines = [_result_text(images[result.index], result) for result in enrolment.results]
    return "\n".join([head, *lines, *_duplicate_lines(enrolment)])


def count_text(number: int, noun: str) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _result_text(image: str, result: SampleResult) -> str:
    why = "; ".join(reason_text(reason) for reason in result.reasons)
    if not result.accepted:
        return f"  {image}: refused, {why}" + (f" ({result.detail})" if result.detail else "")
    line = f"  {image}: enrolled" + (f", {quality_text(result.quality)}" if result.quality else "")
    return f"{line}, but {why}" if why else line


def _duplicate_lines(enrolment: Enrolment) -> list[str]:
    if enrolment.merged or not enrolment.duplicates:
        return []
    who, others = enrolment.subject.subject_id, [found.subject_id for found in enrolment.duplicates]
    lines = [_duplicate_text(found) for found in enrolment.duplicates]
    if set(others) <= set(enrolment.subject.distinct_from):
        return [*lines, f"  {who} is known to be another than {', '.join(others)} from now on"]
    return [
        *lines,
        f"  Different people? `tessera subjects keep-apart {who} {' '.join(others)}`",
        f"  The same person? Erase {who}, and enrol the pictures as {others[0]}",
    ]


def _duplicate_text(found: DuplicateCandidate) -> str:
    rate = f" at {threshold_text(found.threshold)}" if found.threshold is not None else ""
    return f"  Looks like {found.subject_id}, who is enrolled already{rate}"
