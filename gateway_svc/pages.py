"""What the gateway serves over HTTP: pictures behind signed links, and nothing else yet."""

from __future__ import annotations

from aiohttp import web

from gateway_svc.shots import PATH, ShotSource, SignedLinks
from tessera.chassis.clock import Clock
from tessera.domain.errors import InvalidInputError, UnavailableError

_HEADERS = {
    # Neither a proxy nor a browser keeps a face beyond the end of its link; no page may embed it and read where it is.
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'",
}


class Pages:
    """An HTTP server.

    Args:
        host: address to listen on.
        port: 0 lets the system choose.
        links: which are ours.
        shots: where pictures are kept.
        clock: for the end of links.
    """

    def __init__(self, host: str, port: int, links: SignedLinks, shots: ShotSource, clock: Clock) -> None:
        self._host = host
        self._links = links
        self._shots = shots
        self._clock = clock
        self._runner: web.AppRunner | None = None
        self.port = port

    async def start(self) -> None:
        """Listen.

        Raises:
            InvalidInputError: the address cannot be used.
        """
        app = web.Application()
        app.router.add_get(PATH + "{shot_id}", self._shot)
        runner = web.AppRunner(app, access_log=None)  # a link in a log is a link for whoever reads the log
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self.port).start()
        except OSError as error:
            await runner.cleanup()
            allowed = f"an address of this machine and a port that is free ({error.strerror})"
            raise InvalidInputError("http_port", f"{self._host}:{self.port}", allowed) from None
        self._runner, self.port = runner, runner.addresses[0][1]

    async def stop(self) -> None:
        """Close; nothing when it does not listen."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _shot(self, request: web.Request) -> web.Response:
        shot_id = request.match_info["shot_id"]
        expires, signature = request.query.get("expires", ""), request.query.get("signature", "")
        if not self._links.is_valid(shot_id, expires, signature, self._clock.now()):
            return web.Response(status=403, text="This link is not one of ours, or it has ended.\n", headers=_HEADERS)
        try:
            jpeg = await self._shots.shot(shot_id)
        except UnavailableError:
            return web.Response(status=503, text="Nobody can look at the moment.\n", headers=_HEADERS)
        if jpeg is None:
            return web.Response(status=404, text="This picture is no longer kept.\n", headers=_HEADERS)
        return web.Response(body=jpeg, content_type="image/jpeg", headers=_HEADERS)
