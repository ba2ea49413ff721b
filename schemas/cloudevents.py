"""CloudEvents as the native route takes them, and the receipt that answers them.

These models describe the contract: OpenAPI and the published schema of the receipt are made from them. The route itself
reads and writes with faster means; a contract test holds the two together.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

__all__ = ["CloudEvent", "EventReceipt", "Receipt", "RejectedEvent"]


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

    specversion: Literal["1.0"]
    id: str = Field(min_length=1, max_length=255, description="With `source` it makes a repeated event count once.")
    source: str = Field(min_length=1, max_length=1_024, description="Who sent it: a URI reference.")
    type: str = Field(min_length=1, max_length=255, description="What the customer did, or `parcours.<call>`.")
    subject: str | None = Field(
        default=None,
        min_length=1,
        description="Whose event it is: a user's id, or `user:<id>`, `anon:<id>`, `account:<id>`.",
    )
    time: str | None = Field(
        default=None, min_length=1, description="RFC 3339, years 1970 to 2100; without it, when it arrived."
    )
    groupid: str | None = Field(default=None, description="The event also belongs to this account.")
    datacontenttype: str | None = Field(default=None, min_length=1, description="Without it, `data` is JSON.")
    dataschema: str | None = Field(default=None, min_length=1)
    data: JsonValue = Field(default=None, description="What is no JSON object becomes the property `data`.")
    data_base64: str | None = Field(default=None, description="Bytes in Base64, instead of `data`. Kept, never read.")


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
                            "detail": "An event needs a userId or an anonymousId.",
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
