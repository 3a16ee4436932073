"""Cameras: whether their pictures come, change, and show what they should."""

from __future__ import annotations

from tessera.chassis.catalogue import Theme, counter, gauge


class CameraMetrics(Theme):
    """One camera, and what it sees."""

    camera_up = gauge(
        "tessera_ingest_camera_up",
        "1 while frames come and change.",
        "0: GetCameraStatus says why; look at the camera and its network first.",
        labels=("camera",),
    )
    camera_frozen = gauge(
        "tessera_ingest_camera_frozen",
        "1 while a live camera sends the same picture again and again.",
        "1: restart the camera. If it happens again, somebody may be feeding it a still: look at its network.",
        labels=("camera",),
    )
    scene_clear = gauge(
        "tessera_ingest_scene_clear",
        "1 while the camera sees its scene.",
        "0: it is covered, out of focus or moved; go and look. Absent while the scene is learned, or not watched.",
        labels=("camera",),
    )
    last_frame_age_s = gauge(
        "tessera_ingest_last_frame_age_seconds",
        "Age of the newest sampled frame.",
        "Grows while a camera is lost.",
        labels=("camera",),
    )
    sample_rate_hz = gauge(
        "tessera_ingest_sample_rate_hertz",
        "Frames a second that are looked at now.",
        "Below the camera's own rate: the encoder grants too few credits; add encoders, or ask for less.",
        labels=("camera",),
    )
    frames = counter(
        "tessera_ingest_frames_total",
        "Sampled frames that have their outcome: ENCODED, SKIPPED, EXPIRED or FAILED, with the reason of a skip or "
        "failure.",
        "Cause of NO_CREDIT and EXPIRED: the encoder is slower than the cameras; lower the sampling rate or add "
        "encoders. RATE_REDUCED: the same, left out evenly. ENCODER_UNAVAILABLE: look at the encoder. NEWER_FRAME: "
        "this process is short of CPU. NO_MOTION: an empty scene, nothing to do.",
        labels=("camera", "outcome", "reason"),
    )
    reconnects = counter(
        "tessera_ingest_reconnects_total",
        "Attempts to open a camera again after it was lost.",
        "Steady growth: the camera or its network flaps.",
        labels=("camera",),
    )
    quarantined = counter(
        "tessera_ingest_quarantined_total",
        "Pictures that are held back since the encoder crashed over them twice.",
        "A defect of the encoder, or an attack on it: its log tells what it died of, and the frame.quarantined line "
        "here which camera showed it.",
        labels=("camera",),
    )
    camera_events = counter(
        "tessera_ingest_camera_events_total",
        "Camera events by their kind and result: PUBLISHED, or DROPPED after bounded attempts (the gallery was away, "
        "or refused it).",
        "DROPPED: look at the gallery; what was dropped is in this worker's log.",
        labels=("kind", "result"),
    )
