"""Who is enrolled, and what is left of those who were erased."""

from __future__ import annotations

from tessera.chassis.catalogue import Theme, counter, gauge, histogram


class EnrolmentMetrics(Theme):
    """Enrolments and erasures."""

    enrolments = counter(
        "tessera_gallery_enrolments_total",
        "Enrolment calls, by outcome: enrolled, replayed (a retry), rejected (no sample could be used), duplicate "
        "(refused: the samples already are another subject's).",
        "A growing share of rejected: `tessera_gallery_samples_total` says why. Many replayed: callers lose answers.",
        labels=("outcome",),
    )
    duplicates = counter(
        "tessera_gallery_duplicates_total",
        "Enrolments whose samples looked like another subject, by what was done: report, reject, merge, keep_apart.",
        "Many: somebody enrols the same people again; look at how ids are given. not_checked: the search was away, "
        "and the enrolment went on without it.",
        labels=("policy",),
    )
    samples = counter(
        "tessera_gallery_samples_total",
        "Samples offered for enrolment, by first reason; ACCEPTED when taken.",
        "Many of one reason: tell those who take the pictures.",
        labels=("reason",),
    )
    replays = counter(
        "tessera_gallery_replays_total",
        "Requests that came again and got their first answer, by method.",
        "Many: callers lose answers; look at their deadlines and at outcome_unknown_total.",
        labels=("method",),
    )
    erasures_unfinished = gauge(
        "tessera_gallery_erasures_unfinished",
        "Erasures of which something is still to be done.",
        "Above 0 for more than 60 s: a gallery hangs, or the store cannot write its files anew (disk full); its log "
        "says which.",
    )
    erasure_seconds = histogram(
        "tessera_gallery_erasure_seconds",
        "Time from the call that erased to nothing left.",
        "Above 60: as erasures_unfinished.",
        buckets=(0.1, 0.3, 1.0, 3.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0),
    )
