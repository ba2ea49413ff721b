"""Spoiled requests in volume, by ASGI and as bytes over sockets: no error of the server, no stall, no growth."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from tests.fuzz.corpus import CORPUS
from tests.fuzz.mutators import spoiled
from tests.fuzz.options import OPTIONS
from tests.fuzz.target import Answer, Asked, Watched, asked, served
from tests.fuzz.wire import exchanged, spoiled_wire
from tests.support.counts import tell

STALL_SECONDS = 0.05
GROWTH_MB = 24.0
REQUESTS_AT_ONCE = 64
CONNECTIONS_AT_ONCE = 256
REPEATS = 3
MOST_EXAMPLES = 10
GOOD_PATIENCE_SECONDS = 20.0
PARTS = 5
"""The memory is measured after each part of so many; in the first one, caches fill up."""

SECONDS_FOR_A_THOUSAND = 20
"""A slow machine's; only the time limit of the tests follows from it."""

_T = TypeVar("_T")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + SECONDS_FOR_A_THOUSAND * OPTIONS.inputs // 1_000)]


def _dice(kind: str, number: int) -> random.Random:
    """Each input has luck of its own, so that one of them can be made again alone."""
    return random.Random(f"{kind} {OPTIONS.seed} {number}")


def _check(answer: Answer, sent: bytes) -> None:
    """What holds for every answer."""
    assert 200 <= answer.status < 500, answer
    declared = answer.headers.get(b"content-length")
    assert b"HEAD " in sent or declared is None or answer.status == 304 or int(declared) == len(answer.body), answer
    if answer.status >= 400 and answer.body:
        kind = answer.headers[b"content-type"].partition(b";")[0]
        assert kind in (b"application/json", b"application/problem+json", b"text/html"), answer
        if kind != b"text/html":
            told = msgspec.json.decode(answer.body)
            assert isinstance(told["code"], str), answer
            assert "Traceback" not in str(told), answer
    if answer.status == 429:
        assert b"retry-after" in answer.headers, answer


class _Run:
    """What a test counts."""

    def __init__(self, kind: str, target: Watched, inputs: int) -> None:
        self.kind = kind
        self.target = target
        self.inputs = inputs
        self.statuses: Counter[int] = Counter()
        self.memory: list[float] = []
        self.longest = 0.0
        self.what = ""
        self.bad = 0
        self.examples: list[str] = []

    def chunks(self, at_once: int) -> Iterator[range]:
        """Numbers of inputs that are sent at once; the memory is measured after each part of them."""
        for start in range(0, self.inputs, at_once):
            if start * PARTS >= self.inputs * (len(self.memory) + 1):
                self.memory.append(self.target.resident())
            yield range(start, min(start + at_once, self.inputs))

    def quickly(self, send: Callable[[], _T]) -> _T:
        """Send some inputs, and see how long they keep the loop at most; returns the first answers.

        A stall that is the inputs' doing comes again when they are sent again. What comes once is the machine's: the
        kernel may have worked for others in the thread's time.
        """
        self.target.forget()
        found = send()
        longest, what = self.target.longest, self.target.what
        for _ in range(REPEATS):
            if longest < STALL_SECONDS:
                break
            self.target.forget()
            send()
            if self.target.longest < longest:
                longest, what = self.target.longest, self.target.what
        if longest > self.longest:
            self.longest, self.what = longest, what
        return found

    def saw(self, number: int, shown: object, sent: bytes, answer: Answer | None) -> None:
        """Check an answer; what is wrong is told at the end, with the numbers of some inputs."""
        self.statuses[answer.status if answer is not None else 0] += 1
        if answer is None:
            return
        try:
            _check(answer, sent)
        except (AssertionError, KeyError, ValueError) as error:
            self.bad += 1
            if len(self.examples) < MOST_EXAMPLES:
                self.examples.append(f"{self.kind} input {number}: {error!r}"[:800] + f"\n    {shown!r}"[:1_500])

    def end(self, item: pytest.Item) -> None:
        """Hold the whole run to what was seen."""
        self.memory.append(self.target.resident())
        grown = self.memory[-1] - self.memory[0]
        counted = ", ".join(f"{count} x {status or 'nothing'}" for status, count in sorted(self.statuses.items()))
        tell(
            item,
            f"fuzz, {self.kind}, seed {OPTIONS.seed}: {self.inputs} inputs; {counted};"
            f" longest callback {self.longest * 1_000:.1f} ms of CPU,"
            f" ({self.what[:120]}),"
            f" memory {', '.join(f'{size:.1f}' for size in self.memory)} MB",
        )
        wrong = []
        if self.bad:
            wrong += [f"{self.bad} bad answers (PARCOURS_FUZZ_SEED={OPTIONS.seed})", *self.examples]
        if self.longest >= STALL_SECONDS:
            wrong.append(f"nothing else could run for {self.longest * 1_000:.0f} ms: {self.what}")
        if grown >= GROWTH_MB:
            wrong.append(f"the memory grew by {grown:.1f} MB")
        wrong += [f"logged {count} times: {error}" for error, count in self.target.errors.most_common(MOST_EXAMPLES)]
        assert not wrong, "\n".join(wrong)


def test_no_request_makes_the_application_fail_stall_or_grow(
    target: Watched, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = _Run("request", target, OPTIONS.requests)
    with asked(target, tmp_path / "data") as ask:
        _all_are_good(ask)
        for numbers in run.chunks(REQUESTS_AT_ONCE):
            sent = [spoiled(_dice("request", number)) for number in numbers]
            for number, each, answer in zip(numbers, sent, run.quickly(partial(ask, sent)), strict=True):
                run.saw(number, each, each.method + b" ", answer)
        _all_are_good(ask)
        run.end(request.node)
    assert run.statuses[200] > run.inputs // 50, "too little is good enough to get far"


def _exchange_all(
    target: Watched, port: int, many: Sequence[bytes], cuts: Sequence[Sequence[int]]
) -> list[list[Answer]]:
    async def exchange() -> list[list[Answer]]:
        return await asyncio.gather(*(exchanged(port, *each) for each in zip(many, cuts, strict=True)))

    return target.run(exchange())


def _all_are_good(ask: Asked) -> None:
    """The requests that the mutators begin with are taken as they are."""
    for sent in CORPUS:
        (answer,) = ask([sent])
        assert answer is not None
        assert answer.status in (200, 202, 204), (sent, answer)


def test_no_bytes_on_a_connection_make_the_process_fail_stall_or_grow(
    target: Watched, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run = _Run("connection", target, OPTIONS.raw)
    good = CORPUS[0].raw()
    with served(target, tmp_path / "data") as port:
        for numbers in run.chunks(CONNECTIONS_AT_ONCE):
            dice = [_dice("connection", number) for number in numbers]
            sent = [spoiled_wire(each) for each in dice]
            cuts = [sorted(each.randrange(len(data) + 1) for _ in range(each.choice((0, 0, 1, 3))))
                    for each, data in zip(dice, sent, strict=True)]  # fmt: skip
            found = run.quickly(partial(_exchange_all, target, port, sent, cuts))
            for number, data, answers in zip(numbers, sent, found, strict=True):
                for answer in answers or (None,):
                    run.saw(number, data, data, answer)
            answers = target.run(exchanged(port, good, patience=GOOD_PATIENCE_SECONDS))
            assert [answer.status for answer in answers] == [200], "it does not serve others any more"
        run.end(request.node)
