"""Waiting for a server: it is done when nothing is left to read, publish, send or wake, or its counts stand still."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from schemas.times import format_instant
from services.demo import watching
from services.demo.watching import ServerSilent, Watcher
from services.runtime.clock import ManualClock

NOW = 1_795_358_000_000
Answer = Callable[[str], tuple[int, Any]]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Answer], str]]:
    """Starts a server that answers each path with (status, JSON); returns its address."""
    monkeypatch.setattr(watching, "_EVERY", 0.001)
    servers: list[ThreadingHTTPServer] = []

    def start(answer: Answer) -> str:
        class Handler(BaseHTTPRequestHandler):
            """Answers what the test says."""

            def do_GET(self) -> None:
                status, content = answer(self.path)
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def partition(lag: int | None = 0, unpublished: int = 0, due: bool = False, clock: int = NOW) -> dict[str, Any]:
    """A partition as /readyz tells of it."""
    return {"lag": lag, "unpublished": unpublished, "due": due, "clock": format_instant(clock)}


def stages(count: int) -> dict[str, Any]:
    """Counts of one stage, as the API tells them."""
    stage = {"stage": "adoption", "label": {"en": "Adoption"}, "kind": "post", "count": count}
    return {"tracks": [{"primary": True, "stages": [stage]}]}


@pytest.mark.parametrize(
    ("state", "sending", "behind"),
    [
        (partition(), 0, 0),
        (partition(lag=3), 0, 3),
        (partition(lag=None), 0, 1),
        (partition(unpublished=2), 0, 2),
        (partition(due=True), 0, 1),
        (partition(clock=NOW - 1), 0, 1),
        (partition(), 1, 1),
    ],
)
def test_whatever_is_left_to_do_counts(
    serve: Callable[[Answer], str], state: dict[str, Any], sending: int, behind: int
) -> None:
    def answer(path: str) -> tuple[int, Any]:
        if path.startswith("/readyz"):
            return 200, {"workers": [{"partitions": [partition(), state]}]}
        return 200, {"messages": [{}] * sending, "next": None}

    watcher = Watcher(serve(answer), "token", ManualClock(NOW))
    assert watcher.behind(NOW) == behind
    watcher.close()


def test_it_waits_until_nothing_is_left(serve: Callable[[Answer], str]) -> None:
    lags = iter([9, 4, 0, 2, 0, 0])
    told: list[int] = []

    def answer(path: str) -> tuple[int, Any]:
        if path.startswith("/v1/messages"):
            return 200, {"messages": [], "next": None}
        return 200, {"workers": [{"partitions": [partition(lag=next(lags))]}]}

    watcher = Watcher(serve(answer), "token", ManualClock(NOW))
    watcher.settle(NOW, 10, told.append)
    assert told == [4, 0, 2, 0, 0]
    watcher.close()


def test_a_server_whose_engines_run_elsewhere_is_done_when_its_counts_stand_still(
    serve: Callable[[Answer], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "_STILL", 3)
    counts = iter([1, 2, 5, 5, 5, 5, 5])
    clock = ManualClock(NOW)

    def answer(path: str) -> tuple[int, Any]:
        if path.startswith("/readyz"):
            return 200, {"workers": []}
        if path.startswith("/v1/messages"):
            return 200, {"messages": [{}], "next": None}
        clock.move(1)
        return 200, stages(next(counts))

    watcher = Watcher(serve(answer), "token", clock)
    watcher.settle(NOW + 5, 10, lambda _: None)
    assert list(counts) == []
    watcher.close()


def test_all_pages_of_sent_messages_are_counted(serve: Callable[[Answer], str]) -> None:
    def answer(path: str) -> tuple[int, Any]:
        if path.startswith("/v1/messages"):
            last = "cursor=c2" in path
            return 200, {"messages": [{}] * (3 if last else 200), "next": None if last else "c2"}
        return 200, stages(7)

    watcher = Watcher(serve(answer), "token", ManualClock(NOW))
    result = watcher.result()
    assert result.messages == 203
    assert [tuple(row) for row in result.stages] == [("Adoption", "post", 7)]
    watcher.close()


def test_a_server_that_never_gets_done_is_given_up_in_a_sentence(serve: Callable[[Answer], str]) -> None:
    def answer(path: str) -> tuple[int, Any]:
        if path.startswith("/v1/messages"):
            return 200, {"messages": [], "next": None}
        return 200, {"workers": [{"partitions": [partition(lag=1)]}]}

    watcher = Watcher(serve(answer), "token", ManualClock(NOW))
    with pytest.raises(ServerSilent, match="still not done"):
        watcher.settle(NOW, 0.05, lambda _: None)
    watcher.close()


def test_a_server_that_is_still_starting_is_waited_for(serve: Callable[[Answer], str]) -> None:
    statuses = iter([503, 503, 200])

    watcher = Watcher(serve(lambda _: (next(statuses), {"workers": []})), "token", ManualClock(NOW))
    watcher.wait_until_ready(10)
    assert list(statuses) == []
    watcher.close()


def test_a_server_that_never_gets_ready_is_given_up_in_a_sentence(serve: Callable[[Answer], str]) -> None:
    watcher = Watcher(serve(lambda _: (503, {"workers": []})), "token", ManualClock(NOW))
    with pytest.raises(ServerSilent, match="is not ready"):
        watcher.wait_until_ready(0.05)
    watcher.close()


def test_a_worker_that_stops_for_a_moment_is_waited_for(serve: Callable[[Answer], str]) -> None:
    statuses = iter([200, 503, 200, 200])

    def answer(path: str) -> tuple[int, Any]:
        if path.startswith("/v1/messages"):
            return 200, {"messages": [], "next": None}
        status = next(statuses)
        return status, {"workers": [{"partitions": [partition(lag=int(status == 503))]}]}

    watcher = Watcher(serve(answer), "token", ManualClock(NOW))
    watcher.settle(NOW, 10, lambda _: None)
    assert list(statuses) == []
    watcher.close()


def test_a_refusal_is_told_in_the_servers_own_words(serve: Callable[[Answer], str]) -> None:
    watcher = Watcher(serve(lambda _: (401, {"detail": "Send an API token."})), "wrong", ManualClock(NOW))
    with pytest.raises(ServerSilent, match=r"refused /v1/lifecycles/default/stages: Send an API token\."):
        watcher.result()
    watcher.close()
