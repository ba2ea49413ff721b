"""Why the door refuses a request, or keeps a single event apart."""

from schemas.problems import PROBLEMS

__all__ = ["Refused", "Unacceptable"]


class Refused(Exception):
    """The request is refused as a whole: nothing of it was stored. Its code says how to do better."""

    retry_after = 2
    """Seconds after which a request that is put off may come again."""

    def __init__(
        self, code: str, detail: str | None = None, pointer: str | None = None, retry_after: int | None = None
    ) -> None:
        """`code` stands in `PROBLEMS` with an HTTP status; `detail` replaces the table's sentence.

        `pointer` is a JSON pointer into the body, or ``/headers/<name>``, where one place is at fault.
        """
        if retry_after is not None:
            self.retry_after = retry_after
        self.code = code
        self.status = PROBLEMS[code].status
        self.detail = detail or PROBLEMS[code].sentence
        self.pointer = pointer
        super().__init__(self.detail)


class Unacceptable(Exception):
    """One event cannot be accepted; it is kept on `parcours.rejected` while the rest of its batch goes on."""

    def __init__(self, code: str, detail: str | None = None, pointer: str | None = None) -> None:
        """`code` stands in `PROBLEMS`; `detail` replaces the table's sentence.

        `pointer` is a JSON pointer into the event, where one place is at fault.
        """
        self.code = code
        self.detail = detail or PROBLEMS[code].sentence
        self.pointer = pointer
        super().__init__(self.detail)
