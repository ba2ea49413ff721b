"""`parcours demo`: some hundred customers live half a year, posted with a real SDK, in under a minute."""

import argparse
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from services.errors import ServiceError
from services.settings import Settings

if TYPE_CHECKING:
    from rich.console import Console

    from services.demo.own_server import OwnServer
    from services.demo.watching import Result, Watcher
    from services.runtime.clock import Clock

__all__ = ["BadArguments", "add_demo_command", "credentials_of", "run_demo"]

_CUSTOMERS = (10, 20_000)
_SETTLE_PATIENCE = 45.0
_JOINED_PATIENCE = 300.0
_READY_PATIENCE = 30.0
_COLORS = {"pre": "blue", "post": "green", "risk": "yellow", "lost": "red"}


class BadArguments(ServiceError):
    """The demonstration was asked for something that cannot be. See `parcours demo --help`."""

    code = "bad_arguments"


class _Target(NamedTuple):
    url: str
    write_key: str
    watcher: "Watcher"
    settle_history: int
    server: "OwnServer | None"


class _Played(NamedTuple):
    """How many events were posted, and whose events came after everybody else's."""

    events: int
    offline: tuple[str, ...]


def add_demo_command(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `demo` to the command line; its function gets (arguments, settings) and returns the exit code."""
    parser = subparsers.add_parser(
        "demo",
        help="customers who live half a year, on a server of their own",
        description="Posts a population that lives half a year, shows who is where at the end, and stays up.",
    )
    parser.add_argument("--url", help="join this running server instead of starting one; keys come from the settings")
    parser.add_argument("--customers", type=int, default=300, help="how many (default 300)")
    parser.add_argument("--seed", type=int, default=7, help="another seed is another population (default 7)")
    parser.add_argument("--keep", action="store_true", help="keep the data folder at the end")
    parser.set_defaults(command=run_demo)


def run_demo(arguments: argparse.Namespace, settings: Settings) -> int:
    """Run the demonstration; stay up until Ctrl-C, unless it joined another server. Raises `ServiceError`."""
    from rich.console import Console

    from services.demo.poster import sdk_version
    from services.runtime.clock import SystemClock

    low, high = _CUSTOMERS
    if not low <= arguments.customers <= high:
        raise BadArguments(f"--customers must be from {low} (one for each stage) to {high}.")
    version = sdk_version()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console = Console(highlight=False, soft_wrap=True)
    clock = SystemClock()
    try:
        with ExitStack() as stack:
            started = clock.monotonic()
            target = (
                _join(arguments.url, settings, clock, stack)
                if arguments.url
                else _start(arguments, settings, clock, stack)
            )
            played = _play(arguments, target, clock, console, version)
            _show(target.watcher.result(), console)
            if played.offline:
                console.print(f"Offline for a while, so what they did came last: {', '.join(played.offline)}")
            console.print(f"\n[bold]Done in {clock.monotonic() - started:.1f} s[/]: {played.events:,} events.")
            console.print(f"Open {target.watcher.sign_in_link()} (signs one browser in, within ten minutes).")
            if target.server is not None:
                data = f"its data stays in {target.server.folder}" if arguments.keep else "its data goes with it"
                console.print(f"The server runs until Ctrl-C; {data}.")
                target.server.wait()
    except KeyboardInterrupt:
        console.print("\nStopped.")
    return 0


def _start(arguments: argparse.Namespace, settings: Settings, clock: "Clock", stack: ExitStack) -> _Target:
    from services.demo.own_server import OwnServer
    from services.demo.watching import Watcher

    server = stack.enter_context(OwnServer(settings, keep=arguments.keep))
    probe = Watcher(server.settings.address, "", clock)
    server.wait_until_ready(probe)
    probe.close()
    write_key, token = credentials_of(server.settings)
    watcher = Watcher(server.settings.address, token, clock)
    stack.callback(watcher.close)
    return _Target(server.settings.address, write_key, watcher, server.settings.settle_history, server)


def _join(url: str, settings: Settings, clock: "Clock", stack: ExitStack) -> _Target:
    from services.demo.watching import Watcher

    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise BadArguments("--url must be an address like http://127.0.0.1:8080.")
    write_key, token = credentials_of(settings)
    watcher = Watcher(url.rstrip("/"), token, clock)
    stack.callback(watcher.close)
    watcher.wait_until_ready(_READY_PATIENCE)
    return _Target(url.rstrip("/"), write_key, watcher, settings.settle_history, None)


def credentials_of(settings: Settings) -> tuple[str, str]:
    """(write key, API token) of the settings, else of the file that the first start wrote. Raises `BadArguments`."""
    path = settings.data_dir / "credentials.env"
    stored: dict[str, str] = {}
    if path.is_file():
        stored = dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
    write_key = settings.write_key or stored.get("PARCOURS_WRITE_KEY")
    token = settings.api_token or stored.get("PARCOURS_API_TOKEN")
    if not write_key or not token:
        raise BadArguments(
            f"No keys: set PARCOURS_WRITE_KEY and PARCOURS_API_TOKEN, or DATA_DIR to the folder with {Path(path).name}."
        )
    return write_key, token


def _play(arguments: argparse.Namespace, target: _Target, clock: "Clock", console: "Console", version: str) -> _Played:
    """Post the population and wait until the server has made everything of it."""
    from services.demo.population import population
    from services.demo.poster import SDK, in_order_of_posting, post

    end = clock.now()
    acts = in_order_of_posting(population(arguments.customers, arguments.seed, end))
    console.print(
        f"[bold]{arguments.customers} customers, half a year[/]: {len(acts):,} events to {target.url}, "
        f"with {SDK} {version}"
    )
    today = datetime.fromtimestamp(end / 1000, UTC).date().isoformat()
    label = f"demo-{arguments.seed}-{arguments.customers}-{today}"
    with _progress(console, "Posting", len(acts)) as progressed:
        post(target.url, target.write_key, acts, label, progressed)
    if target.server is None:
        seconds = target.settle_history // 1000
        console.print(f"Silence counts {seconds} s after the last event of a history (PARCOURS_SETTLE_HISTORY).")
    with _progress(console, "Folding", None) as progressed:
        patience = _SETTLE_PATIENCE if target.server else _JOINED_PATIENCE
        target.watcher.settle(_silence_counts(target, clock), patience, progressed)
    late = {person.id: None for person, act in acts if act.late}
    return _Played(len(acts), tuple(late))


def _silence_counts(target: _Target, clock: "Clock") -> int:
    """The instant that the clocks must have passed: then the silence after the last event has counted."""
    return clock.now() + target.settle_history


@contextmanager
def _progress(console: "Console", title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    shown = columns if total is not None else [*columns[:2], columns[3]]
    with Progress(*shown, console=console) as progress:
        task = progress.add_task(title, total=total)

        def progressed(number: int) -> None:
            if total is not None:
                progress.update(task, completed=max(0, number))

        yield progressed
        if total is None:
            progress.update(task, total=1, completed=1)


def _show(result: "Result", console: "Console") -> None:
    from rich.table import Table

    table = Table(title="Customers per stage", title_justify="left")
    table.add_column("Stage")
    table.add_column("Customers", justify="right")
    table.add_column("")
    longest = max((row.customers for row in result.stages), default=0) or 1
    for row in result.stages:
        bar = "█" * max(round(30 * row.customers / longest), 1 if row.customers else 0)
        table.add_row(row.label, str(row.customers), f"[{_COLORS.get(row.kind, 'white')}]{bar}[/]")
    console.print(table)
    console.print(f"Messages sent into the local outbox: {result.messages}")
