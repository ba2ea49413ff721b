"""Every refusal has a stable code: the one table of them, and RFC 9457 problems made from it.

A problem answers a request of the API. The tracking endpoints answer refusals in the shape that SDKs understand
(`schemas.events.Refusal`) with codes of this same table, and keep single unacceptable events under an item code.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["PROBLEMS", "PROBLEM_CONTENT_TYPE", "Fault", "Problem", "ProblemError", "ProblemKind"]
__all__ += ["problem", "shown"]

PROBLEM_CONTENT_TYPE = "application/problem+json"
SHOWN_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """One row of the table. `sentence` says what is wrong and the way out; it stands in `detail` unless more is known.

    Where `status` is 0 the code is only ever given to a single event, which is kept on `parcours.rejected` under it;
    `invalid_id`, `invalid_timestamp` and those of CloudEvents are given to events as well as to requests.
    """

    code: str
    status: int
    title: str
    sentence: str


def _table(*rows: tuple[str, int, str, str]) -> Mapping[str, ProblemKind]:
    return {code: ProblemKind(code, status, title, sentence) for code, status, title, sentence in rows}


PROBLEMS: Mapping[str, ProblemKind] = _table(
    # Requests of any kind.
    ("bad_request", 400, "Bad request", "The request cannot be understood. Correct it and send it again."),
    ("invalid_parameter", 400, "Invalid parameter", "A parameter has a value that cannot be used; see errors."),
    ("bad_cursor", 400, "Bad cursor", "The cursor was not made by this server. Start again without one."),
    ("invalid_id", 400, "Invalid id", "The id is empty, longer than 512 bytes, or holds control characters."),
    ("invalid_timestamp", 400, "Invalid time", "Write the time like 2026-11-03T10:00:00.000Z, years 1970 to 2100."),
    ("invalid_body", 422, "Invalid body", "The body is not of the documented shape; see errors."),
    ("not_found", 404, "Not found", "There is nothing at this address. Look it up in /docs."),
    ("method_not_allowed", 405, "Method not allowed", "This address does not serve this method. Look it up in /docs."),
    ("conflict", 409, "Conflict", "The request contradicts the present state. Read it anew and decide again."),
    ("request_timeout", 408, "Request timed out", "The body did not arrive in time. Send it again."),
    ("uri_too_long", 414, "Address too long", "The address is longer than 8 KB. Put the data into the body."),
    ("headers_too_large", 431, "Headers too large", "Send at most 100 headers and 16 KB of them."),
    ("internal_error", 500, "Internal error", "Something broke here. The log names it under the request id."),
    ("unavailable", 503, "Unavailable", "A part of Parcours is not available right now. Send it again later."),
    # Who asks.
    ("unauthorized", 401, "Unauthorized", "Send an API token as `Authorization: Bearer <token>`, or sign in."),
    ("scope", 403, "Not allowed", "This key or token lacks the scope that the request needs. Use one that has it."),
    # What is asked for.
    ("unknown_customer", 404, "Unknown customer", "No customer has this id. Anonymous ones are anon:<id>."),
    ("unknown_lifecycle", 404, "Unknown lifecycle", "No lifecycle has this name. GET /v1/lifecycles lists them."),
    ("unknown_segment", 404, "Unknown segment", "No segment has this name. GET /v1/segments lists them."),
    ("unknown_track", 404, "Unknown track", "The lifecycle has no track of this name."),
    ("unknown_stage", 404, "Unknown stage", "The track has no stage of this name."),
    ("unknown_campaign", 404, "Unknown campaign", "No campaign has this name."),
    ("unknown_message", 404, "Unknown message", "No message has this key. GET /v1/messages lists them."),
    ("unknown_key", 404, "Unknown key", "No key has this id. GET /v1/keys lists them."),
    ("unknown_source", 404, "Unknown source", "No source has this name. GET /v1/sources lists them."),
    ("unknown_event_name", 404, "Unknown event", "The catalog has no event of this name. GET /v1/catalog lists them."),
    ("unknown_rejected", 404, "Unknown rejected item", "No rejected item has this id. GET /v1/rejected lists them."),
    ("key_given", 409, "Key given from outside", "This key comes from the environment. Change it there and restart."),
    ("key_replaced", 409, "Key ended", "This key was replaced, revoked, or has expired already. Make a new one."),
    ("last_admin_token", 409, "Last admin token", "Nobody could administer any more. Make another admin token first."),
    ("stale", 412, "Changed meanwhile", "Someone else changed it since you read it. Read it anew and decide again."),
    (
        "precondition_required",
        428,
        "If-Match needed",
        "It was changed before. Read it, and send the ETag of what you read as If-Match.",
    ),
    ("bad_link", 400, "Link not valid", "The sign-in link was used, or is older than ten minutes. Make a new one."),
    # The door.
    ("unknown_write_key", 401, "Unknown write key", "The write key is missing or not known. Send a valid one."),
    ("duplicate_header", 400, "Header repeated", "Send Authorization, Content-Encoding and Content-Length only once."),
    ("empty_body", 400, "Empty body", "The request has no body. Send one JSON object."),
    ("invalid_json", 400, "Invalid JSON", "The body is not valid JSON in UTF-8. Send one JSON object."),
    ("json_depth", 400, "Nested too deep", "The JSON is nested too deep to be read. Flatten it."),
    ("expected_object", 400, "Object expected", "The body must be one JSON object."),
    ("expected_batch", 400, "Batch expected", "The body must hold a list of events named `batch`."),
    ("bad_encoding", 400, "Bad encoding", "The body is not the gzip stream that Content-Encoding promises."),
    ("body_too_large", 413, "Body too large", "A body may hold 4 MiB once decoded. Send smaller batches."),
    ("too_many_events", 413, "Too many events", "A batch may hold 10,000 events. Send smaller batches."),
    ("unsupported_encoding", 415, "Unsupported encoding", "Send the body plain or as Content-Encoding: gzip."),
    ("unsupported_media_type", 415, "Unsupported type", "Send the body as application/json."),
    ("too_many_requests", 429, "Too many requests", "Too much is in flight. Send it again after Retry-After seconds."),
    ("log_unavailable", 503, "Event log unavailable", "Nothing was accepted: the log does not answer. Send it again."),
    ("rate_limited", 429, "Too many events", "The limit of this key or address is used up. Wait Retry-After seconds."),
    (
        "invalid_idempotency_key",
        400,
        "Invalid Idempotency-Key",
        "Send 1 to 255 printable ASCII characters as its value.",
    ),
    (
        "idempotency_conflict",
        409,
        "Idempotency-Key reused",
        "This Idempotency-Key came with another body. Draw a new one.",
    ),
    ("expected_events", 400, "CloudEvents expected", "The body must be one CloudEvent, or a JSON array of them."),
    (
        "ce_missing_attribute",
        400,
        "Attribute missing",
        "A CloudEvent needs id, source, type and specversion, not empty.",
    ),
    ("ce_version", 400, "Other version", "Send CloudEvents with specversion 1.0."),
    (
        "ce_invalid_attribute",
        400,
        "Invalid attribute",
        "An attribute of the CloudEvent cannot be read. Encode it as 1.0 says.",
    ),
    ("ce_conflict", 400, "Contradicting attributes", "Headers and body say different things. Send one or the other."),
    # Single events: kept on parcours.rejected while the rest of the batch is accepted.
    ("not_an_object", 0, "Not an object", "An event must be a JSON object."),
    ("unknown_type", 0, "Unknown type", "`type` must be track, identify, page, screen, group or alias."),
    ("no_identity", 0, "No identity", "An event needs a userId or an anonymousId."),
    ("no_group_id", 0, "No groupId", "A group call needs a groupId."),
    ("no_previous_id", 0, "No previousId", "An alias call needs a previousId."),
    ("alias_cycle", 0, "Alias to itself", "An alias must name two different ids."),
    ("invalid_message_id", 0, "Invalid messageId", "A messageId is printable text of 1 to 255 characters."),
    ("invalid_event_name", 0, "Invalid event name", "`event` must be printable text of 1 to 255 characters."),
    ("reserved_event_name", 0, "Reserved event name", "$identify, $group, $alias and $stage:... are Parcours' own."),
    ("invalid_properties", 0, "Invalid properties", "`properties`, `traits` and `context` must be JSON objects."),
    ("invalid_field", 0, "Invalid field", "A field has a JSON type that cannot be used."),
    ("unknown_event", 0, "Unknown event", "The source is strict, and the catalog has no event of this name."),
    ("invalid_event", 0, "Invalid event", "The source is strict, and a property is not as the catalog describes it."),
    ("too_many_properties", 0, "Too many properties", "An event may hold 1,000 properties and 1,000 traits."),
    ("property_too_long", 0, "Property too long", "A text may be 256 KiB long."),
    ("too_deep", 0, "Nested too deep", "An event may be nested 16 levels deep."),
    ("nul_in_string", 0, "NUL in a text", "No text and no key may hold the character U+0000."),
    ("event_too_large", 0, "Event too large", "An event may be 256 KiB long."),
    ("record_too_large", 0, "Record too large", "The event does not fit into a record of the event log."),
)


class Fault(BaseModel):
    """One thing that is wrong in a request: where, as a JSON pointer (or a parameter's name), and what."""

    model_config = ConfigDict(frozen=True)

    pointer: str = Field(examples=["/query/limit"])
    code: str = Field(examples=["greater_than_equal"])


class Problem(BaseModel):
    """An error answer: RFC 9457 problem details with a stable code, the request's id, and pointers to the faults."""

    model_config = ConfigDict(frozen=True)

    type: str = Field(examples=["urn:parcours:problem:unknown_customer"])
    title: str = Field(examples=["Unknown customer"])
    status: int = Field(examples=[404])
    code: str = Field(examples=["unknown_customer"])
    detail: str = Field(examples=["No customer has this id. Check the id; anonymous ones are anon:<id>."])
    instance: str | None = Field(default=None, examples=["/v1/customers/nobody"])
    request_id: str | None = Field(default=None, examples=["0199b0c4-6f9e-7c1e-8a55-1f6f3f6a2b11"])
    errors: tuple[Fault, ...] = ()


class ProblemError(Exception):
    """A request is refused: raise it with a code of `PROBLEMS`; the web layer answers it as a problem.

    `detail` replaces the table's sentence. Raises `KeyError` for a code that is not in the table.
    """

    def __init__(self, code: str, detail: str | None = None, errors: Sequence[Fault] = ()) -> None:
        """`code` stands in `PROBLEMS` with a status; `errors` point at what is wrong."""
        self.kind = PROBLEMS[code]
        self.code = code
        self.detail = detail or self.kind.sentence
        self.errors = tuple(errors)
        super().__init__(self.detail)


def problem(
    code: str,
    detail: str | None = None,
    *,
    instance: str | None = None,
    request_id: str | None = None,
    errors: Sequence[Fault] = (),
) -> Problem:
    """The problem of a code, with the table's sentence unless `detail` says more. `KeyError`: an unknown code."""
    kind = PROBLEMS[code]
    return Problem(
        type=f"urn:parcours:problem:{code}",
        title=kind.title,
        status=kind.status,
        code=code,
        detail=detail or kind.sentence,
        instance=instance,
        request_id=request_id,
        errors=tuple(errors),
    )


def shown(text: str) -> str:
    """What a sentence may echo of someone's input: quoted, escaped to ASCII, cut at 64 characters."""
    escaped = ascii(text)
    return escaped if len(escaped) <= SHOWN_CHARACTERS else escaped[: SHOWN_CHARACTERS - 4] + "...'"
