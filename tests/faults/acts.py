"""Breaking a running system on purpose: at random moments, and at those moments where a mistake would show.

A random kill seldom hits the few milliseconds that matter, so each act stops the system right there: a lock of the
test's own, a frozen broker or a silent mail server holds it between two steps while a process is killed or frozen.
"""

import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from localservers import KafkaServer
from schemas.topics import EVENTS
from tests.faults.flow import Flow
from tests.support.mail_sink import MailSink
from tests.support.services import Service
from tests.support.settling import PROCESSORS
from tests.support.system import System

__all__ = ["Chaos"]

_WAIT_SECONDS = 60.0
_SESSION_SECONDS = 10.0
_HELD_SECONDS = 2.0
_PRESSED_SECONDS = 0.5
_PUBLISHED_SECONDS = 4.0
_TRIES = 8
_WEIGHTS = {"parcours": 1, "ingest": 3, "segmenter": 2, "notifier": 3}


@dataclass
class Chaos:
    """Breaks one system and counts what it did. `seed` decides victims and moments."""

    system: System
    seed: int
    mail: MailSink
    flow: Flow
    broker: KafkaServer | None = None
    database: str | None = None
    kills: Counter[str] = field(default_factory=Counter)
    freezes: int = 0

    def __post_init__(self) -> None:
        """Nothing is broken yet."""
        self.random = random.Random(f"chaos {self.seed}")
        self._frozen: set[str] = set()
        self._thawing: list[threading.Timer] = []

    @property
    def killed(self) -> int:
        """How many processes were killed so far."""
        return sum(self.kills.values())

    def spared(self) -> set[str]:
        """The services of which no process was killed so far."""
        return {_service(name) for name in self.system.services} - self.kills.keys()

    def kill(self, service: Service) -> None:
        """SIGKILL, counted."""
        service.kill()
        self._frozen.discard(service.name)
        self.kills[_service(service.name)] += 1

    def restart(self, service: Service) -> None:
        """SIGKILL, and start at once; now and then it is left time to come up."""
        self.kill(service)
        service.start()
        if self.random.random() < 0.6:
            service.wait_ready("/healthz")

    def kill_at_random(self, kills: int) -> None:
        """Kill and restart so many processes, one after the other, at random moments; whom no act has killed first."""
        for _ in range(kills):
            time.sleep(self.random.uniform(0.05, 1.5))
            names = [name for name in self.system.services if name not in self._frozen]
            names = [name for name in names if _service(name) not in self.kills] or names
            weights = [_WEIGHTS.get(name, 1) for name in names]
            self.restart(self.system.services[self.random.choices(names, weights)[0]])

    def freeze_for_longer_than_a_session(self, service: Service) -> None:
        """SIGSTOP now, SIGCONT once its group has given it up; the caller goes on meanwhile."""
        service.freeze()
        self._frozen.add(service.name)
        self.freezes += 1

        def thaw() -> None:
            if service.name in self._frozen:
                self._frozen.discard(service.name)
                service.thaw()

        timer = threading.Timer(_SESSION_SECONDS + self.random.uniform(1.0, 3.0), thaw)
        self._thawing.append(timer)
        timer.start()

    def wait_thawed(self) -> None:
        """Wait until nothing is frozen any more."""
        for timer in self._thawing:
            timer.join()
        self._thawing.clear()

    def all_ready(self) -> None:
        """Wait until every service says that it makes progress."""
        for service in self.system.services.values():
            service.wait_ready()

    def breathe(self) -> None:
        """Wait until every processor has gone on in every partition: only who works can be disturbed at it."""
        before = self._read_so_far()

        def gone_on() -> bool:
            now = self._read_so_far()
            return bool(before) and all(now.get(place, 0) > offset for place, offset in before.items())

        _until(gone_on, "not every processor goes on")

    def _read_so_far(self) -> dict[tuple[str, int], int]:
        query = f"SELECT processor, partition, next_offset FROM positions WHERE topic = '{EVENTS}'"
        rows = {row for processor in PROCESSORS for row in self.system.state.rows(processor, query)}
        return {(processor, partition): offset for processor, partition, offset in rows}

    # Acts on the embedded shape

    def kill_while_the_log_cannot_write(self) -> None:
        """Hold the log's file so that nothing can become durable, let requests come, then kill.

        Whoever acknowledges before the commit has acknowledged what is gone now.
        """
        path = self.system.data_dir / "log.db"
        with closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            with self.flow.pressing():
                time.sleep(_HELD_SECONDS)
            self.kill(self.system.door)
            holder.execute("ROLLBACK")
        self.system.door.start()

    # Acts on the cluster shape

    def kill_the_door_while_the_broker_is_silent(self) -> None:
        """Freeze the broker so that nothing can become durable, let requests come, then kill the door."""
        assert self.broker is not None
        self.broker.pause()
        try:
            with self.flow.pressing():
                time.sleep(_HELD_SECONDS)
            self.kill(self.system.door)
        finally:
            self.broker.resume()
        self.system.door.start()

    def kill_around_the_outbox(self) -> None:
        """Hold the outbox's table, and kill the engines twice at it.

        First when a relay has published something and is about to note it. Then when so much came while they were away
        that every partition has changes to tell: a transaction that was split in two has stored its first half, and
        nobody will ever tell them.
        """
        engines = [service for name, service in self.system.services.items() if name.startswith("stage-engine")]
        for _ in range(_TRIES):
            with self._holding("outbox") as waiting:
                if not _within(_PUBLISHED_SECONDS, lambda: waiting("DELETE FROM outbox", "stage-engine")):
                    continue
                for engine in engines:
                    self.kill(engine)
                with self.flow.pressing():
                    time.sleep(_HELD_SECONDS)
                for engine in engines:
                    engine.start()
                _until(lambda: len(waiting("INSERT INTO outbox", "stage-engine")) >= len(engines), "nobody has changes")
                time.sleep(_PRESSED_SECONDS)
                for engine in engines:
                    self.kill(engine)
                break
        else:
            raise AssertionError("no relay was ever about to note what it had published")
        for engine in engines:
            engine.start()
        self.breathe()

    def wake_a_zombie_with_full_queues(self) -> None:
        """Let one engine own everything and read ahead, freeze it between transactions, let another go on; thaw.

        It goes on where it stood, with records that the other has long stored. Only the database can stop it.
        """
        zombie, other = (self.system.services[f"stage-engine-{number}"] for number in (1, 2))
        other.drain()
        self._owned_anew(zombie)
        with self.flow.pressing():
            time.sleep(_PRESSED_SECONDS)
            with self._holding("stage_engine_activity") as waiting:
                _until(lambda: len(waiting()) >= 1, "the engine does not work")
                time.sleep(_PRESSED_SECONDS)
                zombie.freeze()
                self.freezes += 1
                for backend in waiting():
                    self._ask(f"SELECT pg_terminate_backend({backend})")
        other.start()
        self.breathe()
        zombie.thaw()
        self.breathe()

    def kill_while_a_mail_is_on_its_way(self, sender: Service) -> None:
        """Keep the mail server from answering, kill the notifier that waits for the answer."""
        before = self.mail.taken.total()
        self.mail.be_silent(True)
        try:
            _until(lambda: self.mail.taken.total() > before, "no mail is sent")
            self.kill(sender)
        finally:
            self.mail.be_silent(False)
        sender.start()

    def _owned_anew(self, service: Service) -> None:
        """Wait until an engine, left alone in its group, has taken every partition."""
        service.wait_ready()
        text = _WholeLog(service.log_path)
        partitions = str(list(range(self.system.tuning.partitions)))
        _until(lambda: partitions in text.last_with("worker.assigned"), "the last engine does not own everything")

    def watch_positions(self) -> None:
        """Have the database note every position that goes back."""
        self._ask(
            "CREATE TABLE gone_back (processor text, topic text, partition int, before bigint, after bigint);"
            " CREATE FUNCTION note_gone_back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO gone_back VALUES (NEW.processor, NEW.topic, NEW.partition, OLD.next_offset, NEW.next_offset);"
            " RETURN NEW; END $$;"
            " CREATE TRIGGER note_gone_back AFTER UPDATE ON positions FOR EACH ROW"
            " WHEN (NEW.next_offset < OLD.next_offset) EXECUTE FUNCTION note_gone_back()"
        )

    def positions_gone_back(self) -> list[tuple[Any, ...]]:
        """The positions that went back since `watch_positions`."""
        return self._ask("SELECT * FROM gone_back")

    def _ask(self, query: str) -> list[tuple[Any, ...]]:
        assert self.database is not None
        with psycopg.connect(self.database, autocommit=True) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description is not None else []

    @contextmanager
    def _holding(self, table: str) -> Iterator[Callable[..., list[int]]]:
        """Let nobody write to a table; gives a function that names the backends that wait for it.

        It takes the beginning of a statement and of a service's name, to name only such backends.
        """
        assert self.database is not None

        def waiting(statement: str = "", service: str = "") -> list[int]:
            rows = self._ask(
                "SELECT DISTINCT pid, query, application_name FROM pg_locks JOIN pg_stat_activity USING (pid)"
                f" WHERE relation = '{table}'::regclass AND NOT granted"
            )
            return [pid for pid, query, name in rows if query.startswith(statement) and name.startswith(service)]

        with psycopg.connect(self.database) as holder:
            holder.execute(f"LOCK TABLE {table} IN SHARE MODE".encode())
            yield waiting
            holder.rollback()


class _WholeLog:
    """What a service printed, looked at again and again."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def last_with(self, words: str) -> str:
        """The last line that holds some words, or nothing."""
        lines = self._path.read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if words in line), "")


def _service(name: str) -> str:
    """The service that a process runs: `stage-engine` for `stage-engine-2`."""
    return name.rstrip("-0123456789")


def _until(condition: Callable[[], bool], otherwise: str) -> None:
    """Wait for something that must come. Raises `AssertionError` when it does not."""
    assert _within(_WAIT_SECONDS, condition), f"{otherwise} (waited {_WAIT_SECONDS:.0f} s)"


def _within(seconds: float, condition: Callable[[], object]) -> bool:
    """Wait for something that may come; whether it came."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
