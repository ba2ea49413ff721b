"""Synchronous work in threads, awaited so that a cancellation never abandons a transaction half way."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

__all__ = ["Backoff", "Threads"]

P = ParamSpec("P")
T = TypeVar("T")


class Threads:
    """A few named threads. A function that has begun is always waited for, even when its awaiter is cancelled."""

    def __init__(self, count: int, name: str) -> None:
        """`count` functions run at a time; further ones wait in order."""
        self._executor = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The result of the function, run in a thread. Raises what it raises."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._executor, partial(function, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            if not future.cancel():
                await asyncio.wait([future])
            if not future.cancelled():
                future.exception()  # retrieved, so that it is not reported as forgotten
            raise

    def close(self) -> None:
        """Let running functions end; start no more."""
        self._executor.shutdown(wait=False, cancel_futures=True)


class Backoff:
    """Pauses that double from `first` to `last` seconds, until `reset`."""

    def __init__(self, first: float, last: float) -> None:
        """Both in seconds."""
        self._first = first
        self._last = last
        self._next = first

    async def wait(self) -> None:
        """Pause, and double the next pause."""
        pause, self._next = self._next, min(self._next * 2, self._last)
        await asyncio.sleep(pause)

    def reset(self) -> None:
        """Begin again with the first pause."""
        self._next = self._first
