"""CloudEvents as the native route takes them, and the receipt that answers them.

These models describe the contract: OpenAPI and the published schema of the receipt are made from them. The route itself
reads and writes with faster means; a contract test holds the two together.
"""

import re
from base64 import b64decode
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)

__all__ = ["CloudEvent", "EventReceipt", "Receipt", "RejectedEvent"]


_NAME = re.compile(r"[a-z0-9]+", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _plain(value: str) -> str:
    if _CONTROL.search(value):
        raise ValueError("must hold no control characters")
    return value


def _not_ours(value: str) -> str:
    if value.startswith("/parcours/"):
        raise ValueError("is a source of Parcours itself")
    return value


def _base64(value: str) -> str:
    b64decode(value, validate=True)
    return value


Attribute = Annotated[StrictStr, AfterValidator(_plain)]
Given = Annotated[Attribute, Field(min_length=1)]
Extension = StrictBool | Annotated[StrictInt, Field(ge=-(2**31), lt=2**31)] | Attribute | None


class CloudEvent(BaseModel):
    """An event in the JSON format of CloudEvents 1.0. Further attributes of lower-case letters and digits are kept.

    A `type` of `parcours.track`, `parcours.identify` and so on means that `data` is the body of that call; any other
    `type` is the name of an event, and `data` its properties.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "specversion": "1.0",
                    "id": "8f14e45f",
                    "source": "https://shop.example/orders",
                    "type": "Order Completed",
                    "subject": "ada",
                    "time": "2026-11-03T10:00:00.000Z",
                    "data": {"revenue": 42, "currency": "EUR"},
                },
                {
                    "specversion": "1.0",
                    "id": "45c48cce",
                    "source": "https://shop.example/accounts",
                    "type": "parcours.identify",
                    "data": {"userId": "ada", "traits": {"email": "ada@example.com", "plan": "pro"}},
                },
            ]
        },
    )

    __pydantic_extra__: dict[str, Extension] = Field(init=False)

    specversion: Literal["1.0"]
    id: Given = Field(max_length=255, description="With `source` it makes a repeated event count once.")
    source: Annotated[Given, AfterValidator(_not_ours)] = Field(
        max_length=1_024, description="Who sent it: a URI reference."
    )
    type: Given = Field(max_length=255, description="What the customer did, or `parcours.<call>`.")
    subject: Given | None = Field(
        default=None, description="Whose event it is: a user's id, or `user:<id>`, `anon:<id>`, `account:<id>`."
    )
    time: Given | None = Field(default=None, description="RFC 3339, years 1970 to 2100; without it, when it arrived.")
    groupid: Extension = Field(default=None, description="The event also belongs to this account.")
    datacontenttype: Given | None = Field(default=None, description="Without it, `data` is JSON.")
    dataschema: Given | None = None
    data: JsonValue = Field(default=None, description="What is no JSON object becomes the property `data`.")
    data_base64: Annotated[StrictStr, AfterValidator(_base64)] | None = Field(
        default=None, description="Bytes in Base64, instead of `data`. Kept, never read."
    )

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """Attributes have names of lower-case letters and digits; null is as good as nothing."""
        if isinstance(value, dict):
            given = {name for name, each in value.items() if each is not None} - {"data_base64"}
            if any(not isinstance(name, str) or _NAME.fullmatch(name) is None for name in given):
                raise ValueError("attributes have names of lower-case letters and digits")
        return value

    @model_validator(mode="after")
    def _in_one_form(self) -> Self:
        if self.data is not None and self.data_base64 is not None:
            raise ValueError("an event has data or data_base64, never both")
        return self


class RejectedEvent(BaseModel):
    """An event of the request that was not accepted: its place, from 0, and why."""

    index: int = Field(ge=0)
    code: str = Field(description="A stable code.", examples=["no_identity"])


class EventReceipt(BaseModel):
    """What became of one event.

    `accepted`: it is durable on the event log. `duplicate`: it was before; with the code `duplicate_id_conflict` its id
    came with another content, and the first one stands. `rejected`: it is durable on `parcours.rejected`, with `code`.
    """

    index: int = Field(ge=0, description="Its place in the request, from 0.")
    id: str | None = Field(description="Its id; null where it has none that could be read.")
    status: Literal["accepted", "duplicate", "rejected"]
    code: str | None = Field(default=None, description="Why it was not accepted; a stable code.")
    detail: str | None = Field(default=None, description="The same as a sentence.")
    pointer: str | None = Field(default=None, description="Where in the event, as a JSON pointer.")
    flags: list[str] | None = Field(default=None, description="What is odd about it: it is accepted all the same.")
    warnings: list[str] | None = Field(
        default=None, description="How it breaks the tracking plan, where the source wants to be told."
    )


class Receipt(BaseModel):
    """What became of the events of a request, once all of it is durable."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "accepted": 1,
                    "duplicates": 1,
                    "rejected": [{"index": 2, "code": "no_identity"}],
                    "events": [
                        {"index": 0, "id": "8f14e45f", "status": "accepted"},
                        {"index": 1, "id": "45c48cce", "status": "duplicate"},
                        {
                            "index": 2,
                            "id": "6512bd43",
                            "status": "rejected",
                            "code": "no_identity",
                            "detail": "The event needs a subject: whose it is.",
                            "pointer": "/subject",
                        },
                    ],
                }
            ]
        }
    )

    accepted: int = Field(ge=0)
    duplicates: int = Field(ge=0)
    rejected: list[RejectedEvent]
    events: list[EventReceipt]
