"""What people and programs send stays out of the log, at every level: personal data, cookies, keys, tokens."""

import gzip
import http.client
import json
import logging
import re
from base64 import b64encode
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from localservers.processes import LOOPBACK
from services.eventlog.port import LogUnavailable
from services.web.problems import install_problems
from tests.support.services import CHECKOUT, Service

WRITE_KEY = "wk_SecretWriteKey01"
TOKEN = "pt_SecretToken02"
SECRETS = {
    "email": "ada.private@example.com",
    "phone": "+33 6 12 34 56 78",
    "name": "Ada Private-Lovelace",
    "customer": "customer-private-77",
    "cookie": "SecretCookie03",
    "unknown key": "wk_SecretUnknown04",
    "unknown token": "pt_SecretUnknown05",
    "address of the sender": "203.0.113.77",
    "write key": WRITE_KEY,
    "token": TOKEN,
}


def basic(key: str) -> str:
    """The header that shows a write key."""
    return "Basic " + b64encode(f"{key}:".encode()).decode()


def requests() -> list[tuple[str, str, bytes, dict[str, str]]]:
    """Requests full of what must not be logged: accepted, refused, malformed."""
    person = {"email": SECRETS["email"], "phone": SECRETS["phone"], "name": SECRETS["name"]}
    event = {"type": "identify", "userId": SECRETS["customer"], "traits": person}
    spoiled = {"type": "track", "event": SECRETS["name"], "properties": person}
    many = json.dumps({"batch": [event, spoiled, {"type": person["name"]}, person["email"]]}).encode()
    extra = {"Cookie": f"session={SECRETS['cookie']}", "X-Forwarded-For": SECRETS["address of the sender"]}
    sent = {"Authorization": basic(WRITE_KEY), **extra}
    token = {"Authorization": f"Bearer {TOKEN}", **extra}
    return [
        ("POST", "/v1/batch", many, sent),
        ("POST", "/v1/batch", gzip.compress(many), {**sent, "Content-Encoding": "gzip"}),
        ("POST", "/v1/batch", gzip.compress(many)[:-9], {**sent, "Content-Encoding": "gzip"}),
        ("POST", "/v1/batch", many[:-5], sent),
        ("POST", "/v1/identify", json.dumps({**event, "writeKey": SECRETS["unknown key"]}).encode(), extra),
        ("POST", f"/v1/track?writeKey={SECRETS['unknown key']}", json.dumps(event).encode(), extra),
        ("POST", f"/v1/identify?writeKey={WRITE_KEY}", json.dumps(event).encode(), extra),
        ("POST", "/v1/identify", json.dumps(event).encode(), {"Authorization": basic(SECRETS["unknown key"])}),
        ("POST", "/v1/events", json.dumps([person]).encode(), {**sent, "Content-Type": "application/json"}),
        ("GET", f"/v1/projects/{WRITE_KEY}/settings", b"", extra),
        ("GET", f"/v1/projects/{SECRETS['unknown key']}/settings", b"", extra),
        ("GET", f"/v1/customers/{SECRETS['email']}", b"", token),
        ("GET", f"/v1/customers/{SECRETS['customer']}/journey?as_of={SECRETS['email']}", b"", token),
        ("GET", "/v1/customers?q=" + SECRETS["email"], b"", {"Authorization": f"Bearer {SECRETS['unknown token']}"}),
        ("POST", "/v1/keys", json.dumps({"kind": person["name"], "name": person["email"]}).encode(), token),
        ("POST", "/v1/sign-in-links", b"", token),
        ("POST", "/sign-in", f"token={TOKEN}&next=/".encode(), {"Content-Type": "application/x-www-form-urlencoded"}),
        ("POST", "/sign-in", f"token={SECRETS['unknown token']}".encode(), extra),
        ("GET", f"/customers/{SECRETS['customer']}", b"", token),
        ("DELETE", "/" + SECRETS["customer"], many, sent),
    ]


def ask(port: int, method: str, path: str, body: bytes, headers: dict[str, str]) -> None:
    """Send a request and read the answer, whatever it is."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
    try:
        connection.request(method, path, body or None, headers)
        assert connection.getresponse().status < 500
    finally:
        connection.close()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
def test_a_run_with_personal_data_cookies_and_keys_leaves_none_in_the_log(tmp_path: Path, level: str) -> None:
    settings = {
        "PARCOURS_DATA_DIR": str(tmp_path / "data"),
        "PARCOURS_DEFINITIONS_DIR": str(CHECKOUT / "definitions"),
        "PARCOURS_WRITE_KEY": WRITE_KEY,
        "PARCOURS_API_TOKEN": TOKEN,
        "PARCOURS_SETTLE": "100ms",
        "PARCOURS_LOG_LEVEL": level,
        "PARCOURS_LOG_FORMAT": "json",
    }
    service = Service("parcours", ["run"], settings, tmp_path)
    try:
        service.start()
        service.wait_ready()
        for method, path, body, headers in requests():
            ask(service.port, method, path, body, headers)
        raw = f"GARBAGE {SECRETS['name']} {SECRETS['email']}\r\n\r\n".encode()
        connection = http.client.HTTPConnection(LOOPBACK, service.port, timeout=10)
        connection.connect()
        connection.sock.sendall(raw)
        connection.sock.recv(1_000)
        connection.close()
        service.drain()
    finally:
        service.discard()
    said = (tmp_path / "parcours.log").read_text()
    lines = [json.loads(line) for line in said.splitlines()]
    wanted = {"process.ready", "first_event.applied", "ingest.kept_apart", "ingest.unknown_write_key"}
    assert wanted | {"process.draining"} <= {line["event"] for line in lines}
    assert {kind: secret for kind, secret in SECRETS.items() if secret in said} == {}
    assert re.findall(r"Basic [A-Za-z0-9+/=]{8,}|Bearer \S{8,}|session=\S+", said) == []


@pytest.mark.parametrize("error", [LogUnavailable("nobody"), RuntimeError("nobody")])
async def test_a_failure_names_the_route_and_not_what_stood_in_its_place(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    app = FastAPI()
    install_problems(app, lambda: "a-request-id")

    @app.get("/v1/customers/{id}")
    async def fails(id: str) -> None:
        raise error

    with caplog.at_level(logging.DEBUG):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://parcours.test") as client:
            answer = await client.get("/v1/customers/ada@example.com")
    assert answer.status_code >= 500
    (record,) = (record for record in caplog.records if record.name == "services.web.problems")
    assert vars(record)["route"] == "/v1/customers/{id}"
    assert "ada" not in str({name: value for name, value in vars(record).items() if name != "exc_info"})
