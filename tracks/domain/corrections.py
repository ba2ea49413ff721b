"""What a late event changes: which transitions still stand, which are taken back, which are new, and their identities.

A stored transition stands when the new fold holds the same one: same id (so the same instant, place in it, stages and
transition), and the same reason, visit and cause. The others are retracted, and the new fold's others are added.

Whoever acts on a transition asks "already done?" by its effect id, so an added transition takes over the effect id of
the retracted one that it replaces: the one into the same stage of the same track that lies nearest in time, without
crossing others. A transition that comes back without replacing one has the effect id that it had before. No two
standing transitions of a journey share an effect id.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from behavior import Transition
from tracks.domain.changes import Journey, row_of, transition_id
from tracks.domain.rows import TransitionRow

__all__ = ["Repair", "append", "pair", "repair"]

_MATCHED_CELLS = 250_000


@dataclass(frozen=True, slots=True)
class Repair:
    """The rows to supersede and the rows to store, each in the order of the journey."""

    retracted: list[TransitionRow] = field(default_factory=list)
    added: list[TransitionRow] = field(default_factory=list)


def repair(journey: Journey, stored: Sequence[TransitionRow], folded: Sequence[Transition]) -> Repair:
    """Compare all rows ever stored of a journey with its transitions as folded anew."""
    standing = {row.id: row for row in stored if row.superseded_at is None}
    kept: set[str] = set()
    fresh: list[tuple[str, Transition]] = []
    for transition in folded:
        id_ = transition_id(journey, transition)
        row = standing.get(id_)
        if row is not None and _same(row, transition):
            kept.add(id_)
        else:
            fresh.append((id_, transition))
    retracted = sorted((row for row in standing.values() if row.id not in kept), key=_row_order)
    inherited = _inherited(retracted, fresh)
    taken = {row.effect_id for row in standing.values() if row.id in kept}
    return Repair(retracted, _rows(journey, stored, fresh, inherited, taken))


def append(journey: Journey, stored: Sequence[TransitionRow], transitions: Sequence[Transition]) -> list[TransitionRow]:
    """The rows of transitions that follow a journey; `stored` are all its rows if some were taken back, else none."""
    fresh = [(transition_id(journey, transition), transition) for transition in transitions]
    if not stored:
        return [row_of(journey, transition, id_, 1, id_) for id_, transition in fresh]
    taken = {row.effect_id for row in stored if row.superseded_at is None}
    return _rows(journey, stored, fresh, {}, taken)


def _same(row: TransitionRow, transition: Transition) -> bool:
    return row.reason == transition.reason and row.visit == transition.visit and row.cause == transition.cause


def _row_order(row: TransitionRow) -> tuple[int, int, int]:
    return row.effective_at, row.step, row.ordinal


def _rows(
    journey: Journey,
    stored: Iterable[TransitionRow],
    fresh: Sequence[tuple[str, Transition]],
    inherited: Mapping[str, str],
    taken: set[str],
) -> list[TransitionRow]:
    latest: dict[str, TransitionRow] = {}
    for row in stored:
        if row.id not in latest or latest[row.id].revision < row.revision:
            latest[row.id] = row
    rows = []
    # Those that replace a transition choose first: an inherited effect may not be claimed by a restored one.
    taken = taken | {inherited[id_] for id_, _ in fresh if id_ in inherited}
    for id_, transition in fresh:
        before = latest.get(id_)
        revision = before.revision + 1 if before is not None else 1
        effect_id = inherited.get(id_)
        if effect_id is None:
            wishes = (before.effect_id if before is not None else id_, id_, f"{id_}:{revision}")
            effect_id = next(wish for wish in wishes if wish not in taken)
            taken.add(effect_id)
        rows.append(row_of(journey, transition, id_, revision, effect_id))
    return rows


def _inherited(retracted: Sequence[TransitionRow], fresh: Sequence[tuple[str, Transition]]) -> dict[str, str]:
    """The effect ids that added transitions take over, by transition id."""
    places: dict[tuple[str, str], tuple[list[TransitionRow], list[tuple[str, Transition]]]] = {}
    for row in retracted:
        places.setdefault((row.track, row.to_stage), ([], []))[0].append(row)
    for id_, transition in fresh:
        place = places.get((transition.track, transition.to))
        if place is not None:
            place[1].append((id_, transition))
    found: dict[str, str] = {}
    for rows, additions in places.values():
        pairs = pair([row.effective_at for row in rows], [transition.at for _, transition in additions])
        found.update({additions[added][0]: rows[gone].effect_id for gone, added in pairs})
    return found


def pair(before: Sequence[int], after: Sequence[int]) -> list[tuple[int, int]]:
    """Pair as many as possible of two ascending lists of instants (ms), in order, at the least total distance.

    Returns pairs of indexes. Very long lists are paired from their beginnings.
    """
    if len(before) > len(after):
        return [(right, left) for left, right in pair(after, before)]
    if len(before) == len(after) or len(before) * len(after) > _MATCHED_CELLS:
        return [(index, index) for index in range(min(len(before), len(after)))]
    # cost[i][j]: the least distance that pairs the first i of `before` with some of the first j of `after`.
    spare = len(after) - len(before)
    cost: list[dict[int, int]] = [dict.fromkeys(range(spare + 1), 0)]
    for i, instant in enumerate(before, start=1):
        row: dict[int, int] = {}
        for j in range(i, i + spare + 1):
            paired = cost[i - 1][j - 1] + abs(instant - after[j - 1])
            row[j] = min(paired, row[j - 1]) if j - 1 in row else paired
        cost.append(row)
    pairs: list[tuple[int, int]] = []
    j = len(after)
    for i in range(len(before), 0, -1):
        while j - 1 in cost[i] and cost[i][j - 1] <= cost[i][j]:
            j -= 1
        pairs.append((i - 1, j - 1))
        j -= 1
    return pairs[::-1]
