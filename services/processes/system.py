"""A running system: the services of one process, started together, watched, and drained together."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol

from services.bootstrap import SERVICES, Container, Replacements, check, make_container, migrate
from services.processes.http_server import HttpServer
from services.processes.ports import listen
from services.processes.running import LoopLag, innermost
from services.runtime.health import WorkerHealth
from services.runtime.worker import Worker
from services.settings import Settings
from services.storage.data_folder import DataFolder

__all__ = ["System", "running_system"]


class Stoppable(Protocol):
    """Something that runs until it is told to stop."""

    async def run(self) -> None:
        """Run until stopped; raise what cannot be mended."""

    def stop(self) -> None:
        """End soon."""


class Engine(Protocol):
    """What folds events, as far as the process counts what it finds."""

    @property
    def name(self) -> str:
        """Name of its processor."""

    @property
    def conflicts(self) -> int:
        """How many ids came again with another content."""


class System:
    """The services of one process while they run."""

    def __init__(self, container: Container, services: Sequence[str], listener: socket.socket) -> None:
        """Made by `running_system`."""
        self.container = container
        self.services = tuple(services)
        self.workers: list[Worker] = []
        self.engines: list[Engine] = []
        self.loop_lag = LoopLag(container.clock.monotonic)
        self.welcome: Callable[[], Sequence[str]] | None = None
        self._listener = listener
        self._senders: list[Stoppable] = []
        self._server: HttpServer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def settings(self) -> Settings:
        """The settings it was started with."""
        return self.container.settings

    @property
    def port(self) -> int:
        """The port that its HTTP server listens on."""
        return int(self._listener.getsockname()[1])

    @property
    def address(self) -> str:
        """Where its HTTP server answers, as a URL that this machine can open."""
        host = self.settings.host
        if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared with, not listened on
            host = "127.0.0.1"
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    def health(self) -> tuple[WorkerHealth, ...]:
        """How its workers are doing."""
        return tuple(worker.health() for worker in self.workers)

    def add(self, workers: Iterable[Worker] = (), senders: Iterable[Stoppable] = ()) -> None:
        """Parts to run; called before `start`."""
        self.workers.extend(workers)
        self._senders.extend(senders)

    def serve(self, app: Any) -> None:
        """The application to serve; called before `start`."""
        self._server = HttpServer(app, self._listener)

    async def start(self, group: asyncio.TaskGroup) -> None:
        """Start all parts as tasks of the group; return once HTTP requests are answered."""
        self._spawn(group, "loop lag", self.loop_lag.run())
        for part in (*self.workers, *self._senders):
            self._spawn(group, type(part).__name__, part.run())
        if self._server is not None:
            self._spawn(group, "http", self._server.run())
            await self._server.ready()

    def _spawn(self, group: asyncio.TaskGroup, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(group.create_task(work, name=name))

    async def drain(self) -> None:
        """Answer the requests in flight, then finish the batches in flight and publish what they made."""
        lag, *others = self._tasks
        lag.cancel()
        if self._server is not None:
            self._server.stop()
            await asyncio.wait([task for task in others if task.get_name() == "http"])
        for part in (*self.workers, *self._senders):
            part.stop()
        await asyncio.wait(self._tasks)


@asynccontextmanager
async def running_system(
    settings: Settings,
    services: Sequence[str] = SERVICES,
    replacements: Replacements | None = None,
    say: Callable[[str], None] | None = None,
) -> AsyncIterator[System]:
    """The given services, running until the block ends; then they are drained. `say` is told of the first event.

    On the embedded shape the data folder is locked, and topics and tables are created; on the cluster shape they must
    exist. An error that ends a service cancels the block and is raised here. Before that it raises what a user can
    mend: `PortTaken`, `DataFolderInUse`, `DataFolderUnwritable`, `InvalidDefinition`, `StorageError`, `LogError`.
    """
    from services.processes.assembly import assemble

    async with AsyncExitStack() as stack:
        listener = stack.enter_context(listen(settings.host, settings.port, share=settings.share_port))
        folder = DataFolder(settings.data_dir)
        if not settings.cluster:
            folder.lock()
            stack.callback(folder.unlock)
        elif "ingest" in services:
            folder.make()
        container = make_container(settings, replacements, services)
        stack.callback(container.close)
        # The API reads what the other services store.
        touched = SERVICES if "ingest" in services else services
        for service in touched:
            await asyncio.to_thread(container.databases[service].ping)
        await container.log.start()
        stack.push_async_callback(container.log.close)
        await (check if settings.cluster else migrate)(container, touched)
        system = System(container, services, listener)
        await assemble(system, say)
        try:
            async with asyncio.TaskGroup() as group:
                await system.start(group)
                try:
                    yield system
                finally:
                    await system.drain()
        except BaseExceptionGroup as errors:
            raise innermost(errors) from errors
