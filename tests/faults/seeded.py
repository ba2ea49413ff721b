"""Seeded bugs: each a few exact replacements in the product, and the shape whose kill test must notice."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["MUTANTS", "Edit", "Mutant"]


@dataclass(frozen=True)
class Edit:
    """Replace `old`, which must occur exactly once in the file, by `new`."""

    path: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """A bug that somebody could have written."""

    name: str
    shape: Literal["embedded", "cluster"]
    edits: tuple[Edit, ...]
    test: Literal["kill", "door_faults"] = "kill"


_CONDITION = " WHERE processor = %s AND topic = %s AND partition = %s AND next_offset = %s AND epoch = %s"
_WITHOUT = (
    " WHERE processor = %s AND topic = %s AND partition = %s AND (next_offset = %s OR true) AND (epoch = %s OR true)"
)
_APPEND = "                highest = outbox.append(transaction, name, partition, owned.highest, outputs)\n"
_CLOCK = "                    positions.save_clock(transaction, name, partition, after.clock)\n"
_ADVANCE = "                positions.advance(transaction, name, partition, owned.epoch, moves)\n"
_ANOTHER = "            with self._database.transaction() as transaction:\n"
_OFFSETS = (
    'auto_offset_reset="none",\n            enable_auto_commit=False,\n            isolation_level="read_committed",\n'
)
_CLAIM = '.values(status="claimed", lease_owner=owner,'

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "the door acknowledges before the commit",
        "embedded",
        (
            Edit(
                "services/eventlog/embedded_writer.py",
                "                await self._committer.run(add, self._within)\n",
                "                task = asyncio.ensure_future(self._committer.run(add, self._within))\n"
                "                task.add_done_callback(lambda done: done.cancelled() or done.exception())\n",
            ),
            Edit(
                "services/eventlog/embedded_writer.py",
                "        if self._closed or not self._committer.begin(add, told):\n            return False\n",
                "        if self._closed or not self._committer.begin(add, print):\n            return False\n"
                "        asyncio.get_running_loop().call_soon(told, None)\n",
            ),
        ),
    ),
    Mutant(
        "the ids of transitions are drawn at random",
        "embedded",
        (
            Edit(
                "tracks/domain/changes.py",
                'return blake2b("\\x1f".join(parts).encode(), digest_size=16).hexdigest()',
                'return __import__("uuid").uuid4().hex',
            ),
        ),
    ),
    Mutant(
        "a mail is sent before its attempt is claimed",
        "embedded",
        (Edit("notifier/attempts.py", _CLAIM, _CLAIM.replace("claimed", "ready")),),
    ),
    Mutant(
        "a send to Kafka is not awaited",
        "cluster",
        (
            Edit(
                "services/eventlog/kafka_writer.py",
                "            await answer\n",
                "            answer.add_done_callback(lambda done: done.cancelled() or done.exception())\n",
            ),
        ),
    ),
    Mutant(
        "positions move without compare-and-set",
        "cluster",
        (Edit("services/storage/positions.py", _CONDITION, _WITHOUT),),
    ),
    Mutant(
        "no seek after an assignment: the group's own offsets are trusted",
        "cluster",
        (
            Edit(
                "services/eventlog/kafka_reader.py",
                "                self._consumer.seek(partition, offsets[position])\n",
                "",
            ),
            Edit(
                "services/eventlog/kafka_reader.py",
                _OFFSETS,
                _OFFSETS.replace('"none"', '"earliest"').replace("False", "True, auto_commit_interval_ms=500"),
            ),
        ),
    ),
    Mutant(
        "positions are stored in a transaction of their own, before the work",
        "cluster",
        (Edit("services/runtime/transact.py", _ADVANCE, _ADVANCE + _ANOTHER),),
    ),
    Mutant(
        "the outbox is written in a transaction of its own, after the work",
        "cluster",
        (
            Edit("services/runtime/transact.py", _APPEND, ""),
            Edit("services/runtime/transact.py", _CLOCK, _CLOCK + _ANOTHER + _APPEND),
        ),
    ),
    Mutant(
        "a relay trusts its own mark, and does not ask the log how far it came",
        "cluster",
        (
            Edit(
                "services/eventlog/kafka_publisher.py",
                "    last = max(offset or 0, found or 0, state.published_through)\n",
                "    last = state.published_through\n",
            ),
        ),
    ),
    Mutant(
        "a refused sender is not told when to come back",
        "cluster",
        (Edit("ingest/http.py", "if refusal.status in (429, 503):", "if refusal.status == 429:"),),
        "door_faults",
    ),
    Mutant(
        "a request waits for the broker as long as it takes",
        "cluster",
        (
            Edit("ingest/reading.py", "ANSWER_SECONDS: Final = 2.5", "ANSWER_SECONDS: Final = 6.5"),
            Edit("services/eventlog/kafka.py", "APPEND_SECONDS = 3.0", "APPEND_SECONDS = 7.0"),
        ),
        "door_faults",
    ),
)
