"""What the machine refuses."""

__all__ = ["OutOfOrder", "RunawayDefinition", "StaleState", "StateOverflow", "UnreadableEvent"]


class BehaviorError(Exception):
    """The machine cannot go on with this subject."""

    code = "behavior_error"

    def __str__(self) -> str:
        """The message given, else the sentence of the class."""
        return super().__str__() or (type(self).__doc__ or "").strip()


class OutOfOrder(BehaviorError):
    """An instant lies before what was already applied to the subject. Fold all of the subject's events again."""

    code = "out_of_order"


class StateOverflow(BehaviorError):
    """A predicate would have to remember more than 2,000 events of one subject. Narrow its window or its events."""

    code = "state_overflow"


class StaleState(BehaviorError):
    """The stored state belongs to another definition or layout. Fold the subject's events again."""

    code = "stale_state"


class UnreadableEvent(BehaviorError):
    """The content of an event is not the JSON that the door accepts. Set the event aside."""

    code = "unreadable_event"


class RunawayDefinition(BehaviorError):
    """The definition moves a subject in a circle without end. Lengthen the `after` and `stage_age` of these stages."""

    code = "runaway_definition"
