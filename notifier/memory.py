"""What the notifier keeps in memory of one partition: the news that waits for the reading of events to catch up."""

from collections import deque

from notifier.domain.model import Key, Pending
from notifier.domain.reading import Entered, Progressed, Retraction
from schemas.topics import CONTROL, EVENTS, ROUTED

__all__ = ["Memory"]

_AWAITED = (EVENTS, ROUTED, CONTROL)
_Change = tuple[str, str, str]


class Memory:
    """A copy of the undecided rows of a partition, changed beside the rows in the same transaction.

    `deadline`: until when (ms) the first parked news is valid. `outstanding`: an attempt's end is still to be
    announced. `looked_at`: the partition's clock when ends were last looked for. `received`: when the latest event read
    so far was received (ms), as a clock would show it: one that stands still at a start is not taken for the present.
    """

    def __init__(self, undecided: list[Pending], deadline: int | None, *, outstanding: bool) -> None:
        """`undecided`: the stored rows that wait for the reading of events, each topic's in order of offset."""
        self.deadline = deadline
        self.outstanding = outstanding
        self.looked_at: int | None = None
        self.received = 0
        self.positions: dict[str, int] = {}
        self._rows: dict[_Change, dict[str, Pending]] = {}
        self._unbound: dict[str, deque[Pending]] = {}
        self._stored: set[Key] = set()
        self._gone: set[Key] = set()
        self._dirty: dict[Key, Pending] = {}
        self.adopt(undecided)

    def adopt(self, stored: list[Pending]) -> None:
        """Take in news as it is stored, for example parked news of which more is known now."""
        for row in stored:
            self._rows.setdefault(_change_of(row), {})[row.campaign] = row
            self._stored.add(row.key)
            if row.needs is None:
                self._unbound.setdefault(row.topic, deque()).append(row)

    def add(self, row: Pending) -> None:
        """Take new news in; the same news in a higher revision takes the place of the lower one."""
        row.clock = max(row.clock, self.received)
        self._rows.setdefault(_change_of(row), {})[row.campaign] = row
        self._dirty[row.key] = row
        self._gone.discard(row.key)
        self._unbound.setdefault(row.topic, deque()).append(row)

    def remove(self, row: Pending) -> None:
        """Forget news that was decided or taken back, here and in the database."""
        self._drop(row)
        if row.key in self._stored:
            self._gone.add(row.key)

    def park(self, row: Pending) -> None:
        """Leave news to the database until its address is known or it is not valid any more."""
        self._drop(row)
        if not row.parked:
            row.parked = True
            self._dirty[row.key] = row
        self._stored.discard(row.key)
        self.deadline = row.expires_at if self.deadline is None else min(self.deadline, row.expires_at)

    def _drop(self, row: Pending) -> None:
        rows = self._rows[_change_of(row)]
        del rows[row.campaign]
        if not rows:
            del self._rows[_change_of(row)]
        self._dirty.pop(row.key, None)

    def apply(self, step: Entered | Progressed) -> list[Pending]:
        """Take a step of the reading; return the news that it took back and put nothing in the place of."""
        if isinstance(step, Progressed):
            self._progress(step)
            return []
        replaced = {(row.campaign, row.effect_id) for row in step.added}
        withdrawn: list[Pending] = []
        for retraction in step.retracted:
            for row in self._taken_back(retraction):
                self.remove(row)
                if (row.campaign, row.effect_id) not in replaced:
                    withdrawn.append(row)
        for row in step.added:
            self.add(row)
        return withdrawn

    def _taken_back(self, retraction: Retraction) -> list[Pending]:
        change = (retraction.workspace, retraction.subject, retraction.change_id)
        return [row for row in self._rows.get(change, {}).values() if row.revision <= retraction.revision]

    def _progress(self, step: Progressed) -> None:
        waiting = self._unbound.get(step.topic)
        while waiting and waiting[0].offset < step.offset:
            row = waiting.popleft()
            row.needs = {topic: step.offsets[topic] for topic in _AWAITED if topic in step.offsets}
            row.clock = max(row.clock, step.clock, self.received)
            if self._rows.get(_change_of(row), {}).get(row.campaign) is row:
                self._dirty[row.key] = row

    def due(self, clock: int, effects_within: int) -> list[Pending]:
        """News to decide now: reading has passed its progress, it is too old anyway, or it was parked and adopted."""
        return [
            row
            for rows in self._rows.values()
            for row in rows.values()
            if row.parked or self._caught_up(row) or clock - row.effective_at > effects_within
        ]

    def _caught_up(self, row: Pending) -> bool:
        return row.needs is not None and all(
            self.positions.get(topic, 0) >= offset for topic, offset in row.needs.items()
        )

    def changes(self) -> tuple[list[Pending], list[Key]]:
        """The rows to store and the keys to delete since the last call, given that this transaction commits."""
        save, gone = list(self._dirty.values()), sorted(self._gone)
        self._stored.update(row.key for row in save if not row.parked)
        self._stored -= self._gone
        self._dirty, self._gone = {}, set()
        return save, gone


def _change_of(row: Pending) -> _Change:
    return (row.workspace, row.subject, row.change_id)
