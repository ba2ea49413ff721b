"""Inbound events as the tracking endpoints take them: Segment's body shapes, and the answers.

These models describe the contract: OpenAPI and the published schemas are made from them. The door itself reads events
with a faster parser; a contract test holds the two together. Sizes, depth and U+0000 are the door's alone.
"""

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue, StrictInt, StrictStr, model_validator

from schemas.ids import user_subject
from schemas.times import parse_instant

__all__ = ["INBOUND", "AliasEvent", "Batch", "Context", "GroupEvent", "IdentifyEvent", "InboundEvent", "PageEvent"]
__all__ += ["Refusal", "RejectedHeaders", "ScreenEvent", "Success", "TrackEvent"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_RESERVED = ("$identify", "$group", "$alias")


def _identifier(value: str | int) -> str | int:
    if value != "":
        user_subject(str(value))
    return value


def _given(value: str | int) -> str | int:
    if value == "":
        raise ValueError("must not be empty")
    return value


def _plain(value: str | int) -> str | int:
    text = str(value)
    if text.isspace() or len(text) > 255 or _CONTROL.search(text):
        raise ValueError("must be printable text of at most 255 characters")
    return value


def _not_reserved(value: str) -> str:
    if value in _RESERVED or value.startswith("$stage:"):
        raise ValueError("is a name of Parcours itself")
    return value


def _instant(value: str) -> str:
    parse_instant(value)
    return value


Identifier = Annotated[
    StrictStr | StrictInt,
    AfterValidator(_identifier),
    Field(description="Text of 1 to 512 bytes without control characters; a whole number becomes text."),
]
MessageId = Annotated[
    StrictStr | StrictInt,
    AfterValidator(_plain),
    Field(description="Makes a repeated event count once. Without one, it follows from the event's content."),
]
EventName = Annotated[
    StrictStr,
    Field(min_length=1, max_length=255, description="What the customer did."),
    AfterValidator(_plain),
    AfterValidator(_not_reserved),
]
Timestamp = Annotated[
    StrictStr,
    AfterValidator(_instant),
    Field(description="RFC 3339, years 1970 to 2100; without an offset it is UTC."),
]
Properties = Annotated[dict[str, JsonValue], Field(max_length=1_000)]


class Context(BaseModel):
    """Where the event comes from. Unknown fields are kept."""

    model_config = ConfigDict(extra="allow")

    group_id: Identifier | None = Field(
        default=None, alias="groupId", description="The event also belongs to this account."
    )
    traits: Properties | None = None


class InboundEvent(BaseModel):
    """What all calls share. There must be a userId or an anonymousId. Unknown fields are kept."""

    model_config = ConfigDict(extra="allow")

    message_id: MessageId | None = Field(default=None, alias="messageId")
    user_id: Identifier | None = Field(default=None, alias="userId")
    anonymous_id: Identifier | None = Field(default=None, alias="anonymousId")
    timestamp: Timestamp | None = Field(default=None, description="When it happened; without it, when it arrived.")
    original_timestamp: Timestamp | None = Field(
        default=None, alias="originalTimestamp", description="Counts when there is no `timestamp`."
    )
    sent_at: Any = Field(
        default=None, alias="sentAt", description="The sender's clock as it sent the event, to correct `timestamp`."
    )
    context: Context | None = None
    properties: Properties | None = None
    traits: Properties | None = None

    @model_validator(mode="after")
    def _has_identity(self) -> Self:
        if self.user_id in (None, "") and self.anonymous_id in (None, ""):
            raise ValueError("an event needs a userId or an anonymousId")
        return self


class TrackEvent(InboundEvent):
    """A customer did something."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"userId": "ada", "event": "Order Completed", "properties": {"revenue": 42, "currency": "EUR"}}
            ]
        }
    )

    type: Literal["track"] | None = None
    event: EventName


class IdentifyEvent(InboundEvent):
    """Who a customer is: traits."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"userId": "ada", "traits": {"email": "ada@example.com", "plan": "pro"}}]}
    )

    type: Literal["identify"] | None = None


class PageEvent(InboundEvent):
    """A customer saw a page of a web site: the event `Page Viewed`."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"anonymousId": "7f3a", "name": "Pricing", "properties": {"path": "/pricing"}}]}
    )

    type: Literal["page"] | None = None


class ScreenEvent(InboundEvent):
    """A customer saw a screen of an app: the event `Screen Viewed`."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"userId": "ada", "name": "Settings"}]})

    type: Literal["screen"] | None = None


class GroupEvent(InboundEvent):
    """A customer belongs to an account."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"userId": "ada", "groupId": "acme", "traits": {"name": "Acme", "seats": 12}}]}
    )

    type: Literal["group"] | None = None
    group_id: Annotated[Identifier, AfterValidator(_given)] = Field(alias="groupId")


class AliasEvent(InboundEvent):
    """Two ids name the same customer."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"userId": "ada", "previousId": "7f3a"}]})

    type: Literal["alias"] | None = None
    previous_id: Annotated[Identifier, AfterValidator(_given)] = Field(alias="previousId")

    @model_validator(mode="after")
    def _two_ids(self) -> Self:
        if self.user_id is not None and str(self.user_id) == str(self.previous_id):
            raise ValueError("an alias must name two different ids")
        return self


INBOUND: dict[str, type[InboundEvent]] = {
    "track": TrackEvent,
    "identify": IdentifyEvent,
    "page": PageEvent,
    "screen": ScreenEvent,
    "group": GroupEvent,
    "alias": AliasEvent,
}
"""The model of each call. In a batch, `type` names the call; on a path of its own the path does."""


class Batch(BaseModel):
    """Events of any calls, each with its `type`. Its `sentAt` and `context.groupId` count for events without one."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "batch": [
                        {"type": "identify", "userId": "ada", "traits": {"email": "ada@example.com"}},
                        {"type": "track", "userId": "ada", "event": "Order Completed", "properties": {"revenue": 42}},
                    ]
                }
            ]
        },
    )

    batch: Annotated[
        list[TrackEvent | IdentifyEvent | PageEvent | ScreenEvent | GroupEvent | AliasEvent], Field(max_length=10_000)
    ]
    sent_at: Any = Field(default=None, alias="sentAt", description="The sender's clock as it sent the batch.")
    write_key: str | None = Field(
        default=None, alias="writeKey", description="The write key, if it is not in the header."
    )
    context: Context | None = None


class Success(BaseModel):
    """Every event of the request is durable: accepted, or kept on `parcours.rejected` with the reason."""

    success: Literal[True] = True


class Refusal(BaseModel):
    """Nothing of the request was accepted. `code` is stable; `message` says what to do."""

    success: Literal[False] = False
    code: str = Field(examples=["unknown_write_key"])
    message: str = Field(examples=["The write key is missing or not known. Send a valid one."])


class RejectedHeaders(BaseModel):
    """The headers of a record on `parcours.rejected`; its value is the original bytes, whatever they were.

    A record that an engine could not process carries also `ce_place`, and the headers, key and timestamp that it had
    under names that begin with `orig_`.
    """

    model_config = ConfigDict(extra="allow")

    ce_specversion: Literal["1.0"]
    ce_id: str = Field(description="The same for every copy of the same rejection.")
    ce_type: Literal["parcours.event.rejected"]
    ce_source: str
    ce_time: str = Field(description="When it was rejected, RFC 3339.")
    ce_reason: str = Field(description="A stable code.", examples=["no_identity"])
    ce_detail: str = Field(description="A sentence.")
    ce_call: str | None = Field(default=None, description="The call that the path of the request named.")
    ce_place: str | None = Field(default=None, description="topic/partition@offset of a record that was read.")
