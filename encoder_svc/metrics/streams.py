"""Camera streams: how many are open, and how they end."""

from __future__ import annotations

from tessera.chassis.catalogue import Theme, counter, gauge


class StreamMetrics(Theme):
    """Camera streams, and the loop that serves them."""

    streams = gauge(
        "tessera_encoder_streams",
        "Camera streams that are open.",
        "Fewer than cameras: look at camera_ingest.",
    )
    streams_ended = counter(
        "tessera_encoder_streams_ended_total",
        "Streams that the server refused or ended, by cause (limit, silent, draining, replaced).",
        "limit: raise the limit or add an encoder. silent: a worker hangs. replaced: two workers believe that they "
        "have one camera.",
        labels=("cause",),
    )
    credits_in_use = gauge(
        "tessera_encoder_credits_in_use",
        "Stream frames under way.",
        "Always at the number of streams times their credits: overload.",
    )
    client_drops = counter(
        "tessera_encoder_client_drops_total",
        "Frames that clients say they sampled and did not send.",
        "Growing: cameras offer more than is encoded.",
    )
    asyncio_tasks = gauge(
        "tessera_encoder_asyncio_tasks",
        "Tasks of the event loop.",
        "Growing while the load does not: a leak; report it.",
    )
