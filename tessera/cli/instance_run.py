"""One run of `tessera up`, from the lock to the last child's end: the parts are wired together here."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from tessera import __version__
from tessera.chassis.clock import Clock, SystemClock
from tessera.chassis.ports import HOST
from tessera.cli.board import Board
from tessera.cli.call_failure import failure_of
from tessera.cli.camera_argument import CameraArgument
from tessera.cli.child import ChildReport
from tessera.cli.demo_people import DEMO_CAMERA, DEMO_URL, enrol_demo_people
from tessera.cli.demo_signatures import show_signatures
from tessera.cli.exit_codes import ExitCode
from tessera.cli.failure import Failure
from tessera.cli.followers import CameraFollower, EventFollower
from tessera.cli.instance import locked_data_dir, unusable, write_instance
from tessera.cli.instance_keys import prepare_keys
from tessera.cli.ports import Ports, settle_ports
from tessera.cli.process_facts import lived_s
from tessera.cli.services import service_specs
from tessera.cli.supervisor import Supervisor
from tessera.cli.up_options import UpOptions, ViewKind
from tessera.cli.valkey import prepare_valkey, valkey_spec
from tessera.cli.view import JsonView, PlainView, View
from tessera.client import Tessera
from tessera.client.errors import AlreadyExists, ServiceUnavailable, TesseraCallError
from tessera.demo.portraits import fetch_portraits
from tessera.domain.errors import ArtifactError

T = TypeVar("T")

_STORE = "valkey"
_STORE_LIMIT_S = 60.0
_CALL_AGAIN_LIMIT_S = 30.0
_POLL_S = 0.05
_DRAW_S = 0.25
_SAY_AGAIN_S = 10.0


class _StopRequestedError(Exception):
    """Somebody wants the end before everything was up."""


def run_instance(options: UpOptions) -> int:
    """Start everything, show what happens, and end in good order when asked to.

    Returns:
        The exit code.

    Raises:
        Failure: it could not start.
    """
    clock = SystemClock()
    board = Board(clock, clock.monotonic_s() - lived_s())
    with locked_data_dir(options.data_dir), ExitStack() as stack:
        ports = settle_ports(options.ports, clock)
        run = _Run(options, ports, clock, board, stack)
        with stack, run.signals_handled():
            run.start()
            run.go_on()
        return ExitCode.DONE


class _Run:
    """The parts of one run, and the steps in their order."""

    def __init__(self, options: UpOptions, ports: Ports, clock: Clock, board: Board, stack: ExitStack) -> None:
        self._options = options
        self._ports = ports
        self._clock = clock
        self._board = board
        self._stack = stack
        self._stop = threading.Event()
        self._supervisor = Supervisor(clock, board.tell)
        self._tessera = Tessera(
            f"{HOST}:{ports.gallery}",
            ingest=f"{HOST}:{ports.ingest}",
            encoder=f"{HOST}:{ports.encoder}",
            gateway=f"{HOST}:{ports.gateway}",
        )
        self._events = EventFollower(self._tessera, board.take)
        self._cameras = CameraFollower(self._tessera, clock)
        self._written: tuple[ChildReport, ...] = ()
        self._view: View = self._choose_view()

    # ---- the steps

    def start(self) -> None:
        """Bring everything up. The store first, the services in parallel, then people and cameras."""
        self._board.show_on(self._view)
        self._stack.enter_context(self._view)
        portraits = self._portraits_in_background()
        self._supervisor.start()
        self._stack.callback(self._end)
        try:
            self._start_store_and_services()
            self._wait_for(["encoder", "gallery"], self._options.ready_limit_s)
            self._events.start()
            if portraits is not None:
                self._enrol(portraits)
            self._wait_for(["ingest", "gateway"], self._options.ready_limit_s)
            self._cameras.start()
            self._watch_cameras()
        except _StopRequestedError:
            return
        self._board.tell(f"ready after {self._board.uptime_s():.1f} s; Ctrl-C ends everything")
        if self._options.demo:
            self._show_signatures()

    def go_on(self) -> None:
        """Show what happens until somebody asks for the end."""
        while not self._stop.wait(_DRAW_S):
            self._refresh()
            self._raise_refusal()

    def _end(self) -> None:
        self._board.tell("stopping: gateway, cameras, gallery, encoder, store")
        self._events.close()
        self._cameras.close()
        self._supervisor.stop()
        self._tessera.close()
        self._board.tell("stopped")

    @contextmanager
    def signals_handled(self) -> Iterator[None]:
        """The first signal asks for an orderly end, the second one kills."""

        def handle(number: int, frame: object) -> None:  # noqa: ARG001 - as signal.signal wants it
            if self._stop.is_set():
                self._supervisor.kill()
            self._stop.set()

        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.signal(number, handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    # ---- processes

    def _start_store_and_services(self) -> None:
        log_dir = self._options.data_dir / "logs"
        try:
            log_dir.mkdir(exist_ok=True)
            keys = prepare_keys(self._options.data_dir)
            valkey = prepare_valkey(self._options.data_dir, self._ports.store)
        except OSError as error:
            raise unusable(self._options.data_dir, error) from None
        try:
            store = valkey_spec(valkey, log_dir / "valkey.log")
        except ArtifactError as error:
            raise Failure(str(error), reason="NOT_INSTALLED", next_step="pip install 'tessera[up]'") from None
        self._board.tell(f"Tessera {__version__}, data and logs in {self._options.data_dir}")
        self._supervisor.add(store)
        self._wait_for([_STORE], _STORE_LIMIT_S)
        for spec in service_specs(self._ports, valkey.url, log_dir, keys, self._options.targets):
            self._supervisor.add(spec)

    def _wait_for(self, names: Sequence[str], limit_s: float) -> None:
        """Wait until each takes work, and say so.

        Raises:
            Failure: one refused to start, or was not ready in time.
            _StopRequestedError: somebody wants the end.
        """
        until_s, waiting = self._clock.monotonic_s() + limit_s, list(names)
        say_again_s = self._clock.monotonic_s() + _SAY_AGAIN_S
        while waiting:
            self._pause()
            missing = self._supervisor.not_ready(waiting)
            for name in [name for name in waiting if name not in missing]:
                waiting.remove(name)
                self._board.tell(f"{name} ready after {self._board.uptime_s():.1f} s")
            now_s = self._clock.monotonic_s()
            if missing and now_s > until_s:
                raise self._not_ready(missing[0], limit_s)
            if missing and now_s > say_again_s:
                say_again_s = now_s + _SAY_AGAIN_S
                self._board.tell(f"waiting for {', '.join(missing)} (logs in {self._options.data_dir / 'logs'})")

    def _pause(self) -> None:
        if self._stop.wait(_POLL_S):
            raise _StopRequestedError
        self._refresh()
        self._raise_refusal()

    def _raise_refusal(self) -> None:
        if not self._supervisor.is_alive:
            raise Failure(
                "the supervisor ended by a defect, and every service with it",
                exit_code=ExitCode.UNAVAILABLE,
                next_step="start again, and report the traceback above",
                code="INTERNAL",
                reason="SUPERVISOR_ENDED",
            )
        refusal = self._supervisor.refusal
        if refusal is not None:
            raise Failure(
                f"the {refusal.name} refused to start: {refusal.message}",
                next_step=f"correct the setting; the whole log is {self._log_path(refusal.name)}",
                reason="START_REFUSED",
            )

    def _not_ready(self, name: str, limit_s: float) -> Failure:
        said = self._supervisor.last_words(name) or "nothing"
        return Failure(
            f"the {name} was not ready after {limit_s:.0f} s; its log says: {said}",
            exit_code=ExitCode.UNAVAILABLE,
            next_step=f"read {self._log_path(name)}, or give it more time with --ready-limit",
            code="UNAVAILABLE",
            reason="NOT_READY",
        )

    def _log_path(self, name: str) -> Path:
        return self._options.data_dir / "logs" / f"{name}.log"

    # ---- people and cameras

    def _portraits_in_background(self) -> Future[dict[str, Path]] | None:
        """The demo's pictures, fetched while the services start: the first time takes a download."""
        if not self._options.demo:
            return None
        pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="portraits")
        self._stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        return pool.submit(fetch_portraits)

    def _enrol(self, portraits: Future[dict[str, Path]]) -> None:
        while not portraits.done():
            self._pause()
        try:
            paths = portraits.result()
        except ArtifactError as error:
            raise Failure(str(error), exit_code=ExitCode.UNAVAILABLE, reason="NO_PORTRAITS") from None
        enrolled = self._again(lambda: enrol_demo_people(self._tessera, paths))
        self._board.tell(f"enrolled {', '.join(enrolled)}" if enrolled else "the demo's people are enrolled already")

    def _show_signatures(self) -> None:
        """One scene at a desk; what else the demo shows does not depend on it."""
        try:
            for line in show_signatures(self._tessera):
                self._board.tell(line)
        except TesseraCallError as error:
            self._board.tell(f"no signature desk: {error}")

    def _watch_cameras(self) -> None:
        wanted = list(self._options.cameras)
        if self._options.demo:
            wanted.append(CameraArgument(DEMO_CAMERA, DEMO_URL))
        for camera in wanted:
            added = self._again(lambda camera=camera: self._add_camera(camera))  # type: ignore[misc]
            self._board.tell(f"watching {camera.camera_id}: {added}")
        if not wanted and not list(self._tessera.cameras()):
            self._board.tell("no camera yet: `tessera camera add NAME URL`, or start with --camera URL or --demo")

    def _add_camera(self, camera: CameraArgument) -> str:
        """Add it; one of that name with other content gives way, since the command line is the newest word."""
        rate_hz = self._options.sample_rate_hz
        try:
            return self._tessera.add_camera(camera.camera_id, camera.url, sample_rate_hz=rate_hz).url
        except AlreadyExists:
            self._tessera.remove_camera(camera.camera_id)
            return self._tessera.add_camera(camera.camera_id, camera.url, sample_rate_hz=rate_hz).url

    def _again(self, call: Callable[[], T]) -> T:
        """Call until a service that is away for a moment is back.

        Raises:
            Failure: it refused, or stayed away.
        """
        until_s = self._clock.monotonic_s() + _CALL_AGAIN_LIMIT_S
        while True:
            try:
                return call()
            except ServiceUnavailable as error:
                if self._clock.monotonic_s() > until_s:
                    raise failure_of(error) from None
            except TesseraCallError as error:
                raise failure_of(error) from None
            self._pause()

    # ---- what is shown

    def _choose_view(self) -> View:
        if self._options.view is ViewKind.JSON:
            return JsonView()
        if self._options.view is ViewKind.PLAIN:
            return PlainView()
        from tessera.cli.live_view import LiveView  # noqa: PLC0415 - rich is loaded only where it draws

        return LiveView(self._board, self._supervisor.reports, self._cameras.paces)

    def _refresh(self) -> None:
        reports = self._supervisor.reports()
        if reports != self._written and write_instance(self._options.data_dir, self._ports, reports):
            self._written = reports
        self._view.draw()
