"""When a system has come to rest: everything read, folded, published and, as far as it is due, acted upon."""

from services.eventlog.port import EventLog, TopicPartition
from tests.support.states import ENGINES, StoredState

__all__ = ["PROCESSORS", "open_work", "unread"]

PROCESSORS = (*ENGINES, "notifier")


def open_work(state: StoredState, partitions: int, quiet: int) -> str | None:
    """What is stored as still to be done before every clock has passed `quiet` (ms), in words; None: nothing."""
    for processor in PROCESSORS:
        mine = f"processor = '{processor}'"
        clocks: dict[int, int] = dict(state.rows(processor, f"SELECT partition, clock FROM clocks WHERE {mine}"))
        if len(clocks) < partitions or min(clocks.values()) < quiet:
            return f"the clocks of {processor} stand at {clocks}, not yet at {quiet}"
        if state.count(processor, "outbox", mine):
            return f"the outbox of {processor} is not empty"
    for processor, prefix in ENGINES.items():
        due = (
            f"SELECT count(*) FROM {prefix}subjects AS subjects JOIN clocks ON clocks.processor = '{processor}'"
            " AND clocks.partition = subjects.partition WHERE subjects.wake_at <= clocks.clock"
        )
        if number := state.rows(processor, due)[0][0]:
            return f"{number} subjects of {processor} are due"
    if number := state.count("notifier", "notifier_pending", "NOT parked"):
        return f"{number} news of the notifier are undecided"
    # One that was claimed by a process that died stays so until its lease ends, minutes later.
    if number := state.count("notifier", "notifier_attempts", "status = 'ready'"):
        return f"{number} attempts of the notifier are still to be made"
    return None


async def unread(state: StoredState, log: EventLog) -> str | None:
    """Which records wait to be read, in words; None: none do."""
    for processor in PROCESSORS:
        query = f"SELECT topic, partition, next_offset FROM positions WHERE processor = '{processor}'"
        for topic, partition, offset in state.rows(processor, query):
            if await log.read(TopicPartition(topic, partition), offset, 1):
                return f"{processor} has not read all of {topic}/{partition}"
    return None
