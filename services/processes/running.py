"""Running a process: its event loop, its signals, and how it ends."""

import asyncio
import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

from schemas.language_yaml import InvalidDefinition
from services.errors import code_of, sentence_of

__all__ = ["FAILED", "OK", "REFUSED", "LoopLag", "collect_rarely", "keep", "run_process", "tell_error"]

OK: Final = 0
FAILED: Final = 1
REFUSED: Final = 2
"""Exit codes: all is well; it failed while running; it was asked for something that cannot be."""

_DRAIN_SECONDS: Final = 9.5
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

log = logging.getLogger(__name__)

Main = Callable[[asyncio.Event, Callable[[], None]], Awaitable[None]]
"""A process: given the event that tells it to stop, and what it calls once it is up."""


class LoopLag:
    """How late the event loop runs what is due: the greatest delay of the last seconds, in seconds."""

    def __init__(self, monotonic: Callable[[], float], every: float = 0.25, keep: int = 40) -> None:
        """Measures each `every` seconds; the latest `keep` measurements count."""
        self._monotonic = monotonic
        self._every = every
        self._keep = keep
        self._delays: list[float] = []

    @property
    def seconds(self) -> float:
        """The greatest recent delay."""
        return max(self._delays, default=0.0)

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due = self._monotonic() + self._every
            await asyncio.sleep(self._every)
            self._delays.append(max(0.0, self._monotonic() - due))
            del self._delays[: -self._keep]


def tell_error(error: BaseException) -> None:
    """One sentence and its code on standard error, a line for each problem of a definition; a trace only at DEBUG."""
    if log.isEnabledFor(logging.DEBUG):
        log.debug("process.failed", exc_info=error)
    told = error.problems if isinstance(error, InvalidDefinition) else [sentence_of(error)]
    for sentence in told:
        print(f"parcours: {sentence} [{code_of(error)}]", file=sys.stderr, flush=True)


def innermost(error: BaseException) -> BaseException:
    """The first plain error inside groups of errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@contextmanager
def _stopping_on_signals(stop: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, _told_to_stop, stop)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _told_to_stop(stop: asyncio.Event) -> None:
    if not stop.is_set():
        log.info("process.draining")
        stop.set()
        # Whatever hangs, the process ends: what is not yet stored is read again after the next start.
        watchdog = threading.Timer(_DRAIN_SECONDS, _end_now)
        watchdog.daemon = True
        watchdog.start()


def _end_now() -> None:
    print("parcours: Could not finish in time; what was under way is done at the next start. [drain_timeout]",
          file=sys.stderr, flush=True)  # fmt: skip
    os._exit(FAILED)


_COLLECT: Final = (10_000, 50, 100)


def collect_rarely() -> None:
    """Look for cyclic garbage rarely, as there is next to none, and among so few objects that nobody waits for it.

    An engine's states live as long as its cache: looking through them again and again cost a sixth of its CPU time.
    """
    gc.set_threshold(*_COLLECT)


def keep() -> None:
    """Never look through what there is now for garbage again: what a started process is made of lives as long as it.

    Looking through all of it would stop everything else for some hundredths of a second.
    """
    gc.collect()
    gc.freeze()


def run_process(main: Main) -> int:
    """Run a process until it ends or is told to stop by SIGTERM or SIGINT; return its exit code.

    Errors before it is up are the caller's to mend (exit code 2), later ones are failures (1); each is one sentence.
    """
    up = False

    def is_up() -> None:
        nonlocal up
        up = True
        keep()

    async def run() -> None:
        stop = asyncio.Event()
        with _stopping_on_signals(stop):
            await main(stop, is_up)

    collect_rarely()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(run())
    except KeyboardInterrupt:
        return FAILED
    except Exception as error:
        tell_error(innermost(error))
        return FAILED if up else REFUSED
    return OK


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # only where it has no build
        return None
    return uvloop.new_event_loop
