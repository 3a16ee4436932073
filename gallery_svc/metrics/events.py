"""What is told to others: events, and the alerts that rules make of them."""

from __future__ import annotations

from tessera.chassis.catalogue import Theme, counter, gauge


class EventMetrics(Theme):
    """Events and alerts."""

    events = counter(
        "tessera_gallery_events_total",
        "Event revisions recorded, by kind (sighting, camera, verify_failure, alert).",
        "No sighting while people pass: follow tessera_ingest_frames_total and the gallery's decisions, part by part.",
        labels=("kind",),
    )
    events_too_late = counter(
        "tessera_gallery_events_too_late_total",
        "Events that would have opened an alert and were recorded when it was too late to act on them.",
        "Rising: a camera's clock is wrong, or its worker lags.",
    )
    watchers = gauge(
        "tessera_gallery_event_watchers",
        "Streams that watch events.",
        "0: nobody is told.",
    )
    alerts = counter(
        "tessera_gallery_alerts_total",
        "Messages of alerts, by severity and by what happened (OPENED, REMINDED, REVISED, WITHDRAWN, ENDED, "
        "ACKNOWLEDGED, RESOLVED).",
        "Many WITHDRAWN: decisions flap; look at light and at min_tracklet_frames. Many OPENED of one rule: lengthen "
        "its cooldown, or group it otherwise.",
        labels=("severity", "change"),
    )
    alerts_held_back = counter(
        "tessera_gallery_alerts_held_back_total",
        "Events that would have opened an alert and were counted by the rule's last one, because its messages of the "
        "hour were used up, by rule.",
        "Rising: the rule is too wide, or something happens that it was not made for.",
        labels=("rule",),
    )
    judged = counter(
        "tessera_gallery_events_judged_total",
        "Event revisions that were judged by the alert rules, here.",
        "Only one gallery judges at a time.",
    )
    judge_lag = gauge(
        "tessera_gallery_alert_lag_seconds",
        "Age of the oldest recorded event that is not judged yet, where this gallery judges; else 0.",
        "Above some seconds: alerts come late; look at the store, and at the number of rules.",
    )
