"""What is fuzzed: the whole application of a process with a door, asked by ASGI or over a real socket.

It has a loop of its own that runs only while it is asked, and is watched all the time: what is logged, what goes to the
log, how long one callback keeps the loop, how much memory there is.
"""

import asyncio
import ctypes
import gc
import logging
import re
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from threading import Thread, get_ident
from time import thread_time
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import unquote

import msgspec
import psutil
import pytest

from schemas.ids import split_key
from schemas.records import Record, StoredRecord, read_envelope
from schemas.topics import EVENTS, REJECTED, ROUTED
from services.bootstrap import Replacements, make_container, migrate
from services.eventlog.embedded import EmbeddedEventLog
from services.processes.running import collect_rarely, keep
from services.processes.system import running_system
from services.runtime.clock import SystemClock
from services.settings import load_settings
from services.web.create import create_app
from tests.fuzz.corpus import API_TOKEN, WRITE_KEY, Sent
from tests.support.services import CHECKOUT

__all__ = ["Answer", "Asked", "Watched", "asked", "served", "watched"]

_TRACE_LINES: Final = 9
_UNREACHED: Final = "1000000000"
_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_TARGET: Final = re.compile(rb"[^\x21-\x7e]")
_NOT_IN_A_VALUE: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_T = TypeVar("_T")


class Answer(NamedTuple):
    """What came back; `headers` by lower-case name."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes


class _CheckedWriter:
    """Takes every record that a reader of the topics can make use of, and keeps none."""

    def __init__(self) -> None:
        self.records: Counter[str] = Counter()

    async def append(self, records: Sequence[Record]) -> list[None]:
        """Raises `AssertionError` for a record that would only make trouble further on."""
        for record in records:
            self._check(record)
        self.records.update(record.topic for record in records)
        await asyncio.sleep(0)
        return [None] * len(records)

    async def close(self) -> None:
        """Nothing is kept."""

    @staticmethod
    def _check(record: Record) -> None:
        assert record.topic in (EVENTS, REJECTED, ROUTED), record.topic
        assert record.value is not None
        for name, value in record.headers:
            assert name.isascii()
            assert isinstance(value, bytes)
            value.decode()
        if record.topic != REJECTED:
            assert record.key is not None
            workspace, subject = split_key(record.key)
            assert (workspace, bool(subject)) == ("default", True)
            stored = StoredRecord(
                record.topic, record.partition, 0, record.key, record.value, record.headers, record.timestamp
            )
            assert read_envelope(stored).message_id
            assert isinstance(msgspec.json.decode(record.value), dict)


class _CheckedLog(EmbeddedEventLog):
    """The embedded log, of which the door only gets a writer that checks."""

    def __init__(self, path: Path, clock: Callable[[], int]) -> None:
        super().__init__(path, clock)
        self.checked = _CheckedWriter()

    def writer(self) -> Any:
        """A writer that answers at once."""
        return self.checked


class Watched:
    """The loop, and what was seen meanwhile: `longest` is the greatest CPU seconds of a callback of `thread`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = get_ident()
        self.longest = 0.0
        self.what = ""
        self.errors: Counter[str] = Counter()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run the loop until this is done."""
        return self.loop.run_until_complete(work)

    def forget(self) -> None:
        """What was seen so far was the warming up."""
        self.longest, self.what = 0.0, ""

    @staticmethod
    def resident() -> float:
        """The memory of this process in MB, after what is not used any more was given back, if that can be told."""
        gc.collect()
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
        return float(psutil.Process().memory_info().rss) / 1e6


class _Errors(logging.Handler):
    def __init__(self, found: Counter[str]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        lines = self.format(record).splitlines()
        self._found["\n".join([lines[0], *lines[1:][-_TRACE_LINES:]])] += 1


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    """A loop whose callbacks are timed by the CPU time of their thread.

    On a machine that others use, a callback may take long by the wall clock because nobody lets it run: that says
    nothing of the door. The time of its thread counts only while it runs. What runs in other threads is not counted: it
    does not keep the loop, as long as it gives up the interpreter's lock every few milliseconds.
    """
    found = Watched()
    run: Callable[[asyncio.Handle], None] = asyncio.Handle._run

    def timed(handle: asyncio.Handle) -> None:
        if get_ident() != found.thread:
            run(handle)
            return
        before = thread_time()
        run(handle)
        spent = thread_time() - before
        if spent > found.longest:
            callback = getattr(handle, "_callback", None)
            found.longest, found.what = spent, repr(getattr(callback, "__self__", None) or handle)[:1_500]

    monkeypatch.setattr(asyncio.Handle, "_run", timed)
    handler, thresholds = _Errors(found.errors), gc.get_threshold()
    logging.getLogger().addHandler(handler)
    collect_rarely()
    try:
        yield found
    finally:
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        logging.getLogger().removeHandler(handler)
        found.loop.close()


def _settings(folder: Path) -> dict[str, str]:
    return {
        "PARCOURS_PORT": "0",
        "PARCOURS_DATA_DIR": str(folder),
        "PARCOURS_DEFINITIONS_DIR": str(CHECKOUT / "definitions"),
        "PARCOURS_WRITE_KEY": WRITE_KEY,
        "PARCOURS_API_TOKEN": API_TOKEN,
        "PARCOURS_KEY_EVENTS_PER_SECOND": _UNREACHED,
        "PARCOURS_KEY_BURST": _UNREACHED,
        "PARCOURS_ADDRESS_EVENTS_PER_SECOND": _UNREACHED,
        "PARCOURS_ADDRESS_BURST": _UNREACHED,
    }


class Asked:
    """The running application; `records` counts what it has put on the log, by topic."""

    def __init__(self, target: Watched, app: Any, records: Counter[str]) -> None:
        self.records = records
        self._target = target
        self._app = app

    def __call__(self, many: Sequence[Sent]) -> list[Answer | None]:
        """Send requests at once; the answers in order, None for a sender that went away."""

        async def all_of() -> list[Answer | None]:
            # A task's name says what it was about when it took too long.
            return await asyncio.gather(
                *(asyncio.create_task(_asked(self._app, each), name=_short(each)) for each in many)
            )

        return self._target.run(all_of())


@contextmanager
def asked(target: Watched, folder: Path) -> Iterator[Asked]:
    """The application by ASGI."""
    stack = AsyncExitStack()
    log = _CheckedLog(folder / "log.db", SystemClock().now)

    async def start() -> Any:
        settings = load_settings(_settings(folder), folder / "none")
        container = make_container(settings, Replacements(log=log))
        stack.callback(container.close)
        await log.start()
        stack.push_async_callback(log.close)
        await migrate(container)
        web = await create_app(container, address="http://127.0.0.1:8080", health=tuple)
        return web.app

    folder.mkdir(parents=True, exist_ok=True)
    try:
        app = target.run(start())
        keep()
        yield Asked(target, app, log.checked.records)
    finally:
        target.run(stack.aclose())


def _short(sent: Sent) -> str:
    return f"{sent.method!r} {sent.target[:80]!r} {sent.headers!r:.500} {len(sent.body)} bytes {sent.body[:80]!r}"


def _scope(sent: Sent) -> dict[str, Any]:
    """What an HTTP parser would make of it: what no parser lets through is left out."""
    method = sent.method if _TOKEN.fullmatch(sent.method) else b"POST"
    target = b"/" + _NOT_IN_A_TARGET.sub(b"", sent.target).lstrip(b"/")
    path, _, query = target.partition(b"?")
    headers = [
        (name.lower(), _NOT_IN_A_VALUE.sub(b"", value).strip())
        for name, value in sent.headers
        if _TOKEN.fullmatch(name)
    ]
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "server": ("127.0.0.1", 8080),
        "client": ("127.0.0.1", 40_000),
        "scheme": "http",
        "method": method.decode(),
        "root_path": "",
        "path": unquote(path.decode()),
        "raw_path": path,
        "query_string": query,
        "headers": headers,
        "state": {},
    }


async def _asked(app: Any, sent: Sent) -> Answer | None:
    size = max(1, -(-len(sent.body) // sent.pieces))
    pieces = [sent.body[start : start + size] for start in range(0, len(sent.body), size)] or [b""]
    if sent.leaves:
        pieces = pieces[: len(pieces) // 2]
    waiting = iter(enumerate(pieces, start=1))
    answered = asyncio.Event()
    status, headers, body, complete = 0, {}, bytearray(), False

    async def receive() -> dict[str, Any]:
        number, piece = next(waiting, (0, b""))
        if number:
            more = sent.leaves or number < len(pieces)
            return {"type": "http.request", "body": piece, "more_body": more}
        if not sent.leaves:
            await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal status, headers, complete
        if message["type"] == "http.response.start":
            assert status == 0, "two answers"
            status, headers = message["status"], {name.lower(): value for name, value in message["headers"]}
            return
        assert status != 0, "a body before its head"
        assert not complete, "more after the end"
        body.extend(message.get("body", b""))
        if not message.get("more_body", False):
            complete = True
            answered.set()

    await app(_scope(sent), receive, send)
    if sent.leaves and not complete:
        return None
    assert complete, "no answer"
    return Answer(status, headers, bytes(body))


@contextmanager
def served(target: Watched, folder: Path) -> Iterator[int]:
    """The process with the door, with its own log, on a real socket: its port.

    It has a thread of its own, and only what runs there is timed: what the clients do is not the door's fault.
    """
    up: Future[tuple[int, Callable[[], object]]] = Future()

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        async with running_system(load_settings(_settings(folder), folder / "none"), ("ingest",)) as system:
            target.thread = get_ident()
            up.set_result((system.port, lambda: loop.call_soon_threadsafe(stop.set)))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            target.errors[f"the process ended: {error!r}"] += 1
            if not up.done():
                up.set_exception(error)

    thread = Thread(target=run, name="fuzzed", daemon=True)
    thread.start()
    port, stop = up.result()
    keep()
    try:
        yield port
    finally:
        stop()
        thread.join()
