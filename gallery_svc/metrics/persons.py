"""What is kept of persons, and for how long."""

from __future__ import annotations

from tessera.chassis.catalogue import Theme, counter, gauge


class PersonMetrics(Theme):
    """Looks at persons, their anonymous ids, and the names that faces give them."""

    person_links = counter(
        "tessera_gallery_person_links_total",
        "Tracklets of persons: LINKED with one that was seen before, or NEW.",
        "Many LINKED where few come twice: people are dressed alike; lower identify_target_fpir. None at all: the "
        "calibration is too small for it.",
        labels=("result",),
    )
    person_rejudged = counter(
        "tessera_gallery_person_rejudged_total",
        "Looks that were taken for another person after more people had passed.",
        "Many all day long: people are dressed alike, or a camera moves; links of persons mean little there.",
    )
    body_names = counter(
        "tessera_gallery_body_names_total",
        "Bodies that a face gave a name to, by basis: OWN_FACE, BODY_LINK.",
        "Many BODY_LINK is what it is for, where cameras see no faces; look at some before anybody relies on them.",
        labels=("basis",),
    )
    person_looks = gauge(
        "tessera_gallery_person_looks",
        "Looks at persons that are kept, by collection.",
        "At 16384 the oldest go before their time: shorten person_retention, or spread cameras over collections.",
        labels=("collection",),
    )
    persons = gauge(
        "tessera_gallery_persons",
        "Anonymous persons that the looks are of, by collection.",
        "Near the number of looks: nobody is seen twice, or nobody is linked; see tessera_gallery_person_links_total.",
        labels=("collection",),
    )
    person_looks_dropped = counter(
        "tessera_gallery_person_looks_dropped_total",
        "Looks at persons that were removed, by why: EXPIRED (their time was over), ERASED (somebody had them erased).",
        "No EXPIRED for longer than person_retention while persons pass: see tessera_gallery_person_overdue_seconds.",
        labels=("why",),
    )
    person_overdue = gauge(
        "tessera_gallery_person_overdue_seconds",
        "Seconds since persons were last looked through for those whose time is over.",
        "Above some minutes: they are kept for longer than their collections say; the log says why (persons.failed).",
    )
