"""The public API by the contract alone, over HTTP/3 (aioquic), HTTP/2 and HTTP/1.1 (curl).

In, one JSON object on standard input: {"url", "client_id", "client_secret", "certificate_sha256": base64, "story"}; the stories
are the functions at the end. Out, one JSON object a line: {"event": "done", "story"}; an exception is a failed test.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import ssl
import subprocess
import sys
import time
import uuid
from urllib.parse import urlsplit

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from cryptography.hazmat.primitives.serialization import Encoding

# Word for word the contract's examples (seed 003 section 1).
CREATE = """{
  "display_name": "Team Standup",
  "max_participants": 100,
  "settings": {
    "enable_e2e_encryption": true,
    "require_auth": false,
    "recording_enabled": false
  }
}"""
TOKEN = """{
  "grant_type": "client_credentials",
  "client_id": "...",
  "client_secret": "..."
}"""
UNKNOWN_MEETING = "550e8400-e29b-41d4-a716-446655440000"
LIMIT = 100
WINDOW_SECONDS = 60
TIMEOUT_SECONDS = 20


class Answer:
    def __init__(self, version, status, headers, body):
        self.version, self.status, self.headers, self.body = version, status, headers, body

    def json(self, status):
        assert self.status == status, f"{self.version}: {self.status} instead of {status}: {self.body}"
        assert self.headers["content-type"].split(";")[0] == "application/json", self.headers
        return json.loads(self.body)


class Http3(QuicConnectionProtocol):
    """A connection of aioquic's; the certificate is the one whose hash we were told."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.answers = {}

    def quic_event_received(self, event):
        for event in self.http.handle_event(event):
            if not isinstance(event, (HeadersReceived, DataReceived)) or event.stream_id not in self.answers:
                continue
            head, body, whole = self.answers[event.stream_id]
            if isinstance(event, HeadersReceived):
                head.update((name.decode(), value.decode()) for name, value in event.headers)
            else:
                body.extend(event.data)
            if event.stream_ended and not whole.done():
                whole.set_result(None)

    async def ask(self, authority, method, path, headers, body):
        stream = self._quic.get_next_available_stream_id()
        head, content, whole = self.answers[stream] = {}, bytearray(), asyncio.get_running_loop().create_future()
        pseudo = [(":method", method), (":scheme", "https"), (":authority", authority), (":path", path)]
        fields = [(name.encode(), value.encode()) for name, value in pseudo + list(headers.items())]
        self.http.send_headers(stream, fields, end_stream=body is None)
        if body is not None:
            self.http.send_data(stream, body.encode(), end_stream=True)
        self.transmit()
        await asyncio.wait_for(whole, TIMEOUT_SECONDS)
        del self.answers[stream]
        return Answer("h3", int(head.pop(":status")), head, content.decode())


class OverHttp3:
    """One connection for all requests."""

    name = "h3"

    def __init__(self, protocol, authority):
        self.protocol, self.authority = protocol, authority

    async def ask(self, method, path, headers=(), body=None):
        return await self.protocol.ask(self.authority, method, path, dict(headers), body)

    async def ask_often(self, count, path, headers):
        return [await self.ask("GET", path, headers) for _ in range(count)]


class OverCurl:
    """A process for a request, or for many that are alike, on one connection."""

    def __init__(self, name, flag, url):
        self.name, self.flag, self.url = name, flag, url

    async def ask(self, method, path, headers=(), body=None):
        return (await self.run(1, method, path, headers, body))[0]

    async def ask_often(self, count, path, headers):
        return await self.run(count, "GET", path, headers, None)

    async def run(self, count, method, path, headers, body):
        command = ["curl", "--silent", "--show-error", "--insecure", "--max-time", str(TIMEOUT_SECONDS), "--include", "--request", method]
        command += [self.flag]
        for name, value in dict(headers).items():
            command += ["--header", f"{name}: {value}"]
        if body is not None:
            command += ["--data-binary", body]
        command += [self.url + path] * count
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True)
        return list(self.answers(done.stdout))

    def answers(self, text):
        """`--include` writes head and body of each answer in turn."""
        while text:
            head, text = text.split(b"\r\n\r\n", 1)
            start, *fields = head.decode().split("\r\n")
            version, status = start.split(" ")[:2]
            headers = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
            length = int(headers.get("content-length", 0))
            expected = {"h2": "HTTP/2", "h1": "HTTP/1.1"}[self.name]
            assert version == expected, f"{version} instead of {expected}"
            yield Answer(self.name, int(status), headers, text[:length].decode())
            text = text[length:]


@contextlib.asynccontextmanager
async def doors(wish):
    """The API over each protocol."""
    parts = urlsplit(wish["url"])
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, server_name=parts.hostname)
    async with connect(parts.hostname, parts.port, configuration=configuration, create_protocol=Http3) as protocol:
        certificate = protocol._quic.tls._peer_certificate.public_bytes(Encoding.DER)
        assert hashlib.sha256(certificate).digest() == base64.b64decode(wish["certificate_sha256"]), "another certificate"
        yield [
            OverHttp3(protocol, parts.netloc),
            OverCurl("h2", "--http2", wish["url"]),
            OverCurl("h1", "--http1.1", wish["url"]),
        ]


def is_uuid(value):
    return str(uuid.UUID(value)) == value


def is_url(value):
    return urlsplit(value).scheme in ("https", "wss", "http") and bool(urlsplit(value).netloc)


def is_jwt(value):
    return len(value.split(".")) == 3 and value.startswith("eyJ")


def is_time(value):
    return re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value) is not None


def has(answer, **fields):
    """Each field is there and is as asked for: a value, or what a function says of it. Further fields are additions."""
    for name, wanted in fields.items():
        assert name in answer, f"{name} is missing in {answer}"
        value = answer[name]
        fits = wanted(value) if callable(wanted) else type(value) is type(wanted) and value == wanted
        assert fits, f"{name} is {value!r} in {answer}"


def has_rate(answer, limit=LIMIT):
    """The three headers of the contract ("Rate Limiting")."""
    headers = answer.headers
    assert int(headers["x-ratelimit-limit"]) == limit, headers
    assert 0 <= int(headers["x-ratelimit-remaining"]) < limit, headers
    now = time.time()
    assert now - 1 <= int(headers["x-ratelimit-reset"]) <= now + WINDOW_SECONDS + 1, headers


async def bearer(door, wish):
    body = json.loads(TOKEN) | {"client_id": wish["client_id"], "client_secret": wish["client_secret"]}
    answer = await door.ask("POST", "/api/v1/auth/token", {"content-type": "application/json"}, json.dumps(body))
    token = answer.json(200)
    has(token, access_token=is_jwt, token_type="Bearer", expires_in=3600)
    has_rate(answer)
    return {"authorization": f"Bearer {token['access_token']}"}


async def examples(wish):
    """The contract's examples, field by field: token, create, get, list, and the error."""
    async with doors(wish) as all_doors:
        for door in all_doors:
            leave = await bearer(door, wish)
            answer = await door.ask("POST", "/api/v1/meetings", leave | {"content-type": "application/json"}, CREATE)
            created = answer.json(201)
            has(created, meeting_id=is_uuid, meeting_url=is_url, join_token=is_jwt, meeting_controller_url=is_url, created_at=is_time)
            has_rate(answer)
            path = f"/api/v1/meetings/{created['meeting_id']}"
            assert answer.headers["location"].endswith(path), answer.headers
            assert ("alt-svc" in answer.headers) == (door.name != "h3"), answer.headers

            same = {name: created[name] for name in ("meeting_id", "meeting_controller_url", "created_at")}
            answer = await door.ask("GET", path, leave)
            info = answer.json(200)
            has(info, **same, display_name="Team Standup", participant_count=0, max_participants=100)
            has(info, meeting_controller_region=lambda region: isinstance(region, str) and region)
            has_rate(answer)

            answer = await door.ask("GET", f"/api/v1/meetings?user_id={wish['client_id']}&active=true", leave)
            listed = answer.json(200)
            has(listed, total=lambda total: type(total) is int and total >= 1, meetings=lambda meetings: isinstance(meetings, list))
            (mine,) = [meeting for meeting in listed["meetings"] if meeting["meeting_id"] == created["meeting_id"]]
            has(mine, display_name="Team Standup", participant_count=0, created_at=created["created_at"])
            has_rate(answer)

            answer = await door.ask("GET", f"/api/v1/meetings/{UNKNOWN_MEETING}", leave)
            error = {"code": "MEETING_NOT_FOUND", "message": f"Meeting {UNKNOWN_MEETING} does not exist", "details": {}}
            assert answer.json(404) == {"error": error}, answer.body
            has_rate(answer)

            answer = await door.ask("POST", "/api/v1/meetings", leave | {"content-type": "application/json"}, "{")
            refused = answer.json(400)["error"]
            has(refused, code="INVALID_REQUEST", message=lambda text: isinstance(text, str) and text, details={})


async def limit(wish):
    """A hundred requests in a window, however they come; the next is refused alike on every protocol, and told when to come again."""
    async with doors(wish) as all_doors:
        leave = await bearer(all_doors[0], wish)
        started, path = time.monotonic(), f"/api/v1/meetings/{UNKNOWN_MEETING}"
        remaining, resets = LIMIT, set()
        for door, count in zip(all_doors, (34, 33, 33)):
            for answer in await door.ask_often(count, path, leave):
                answer.json(404)
                has_rate(answer)
                remaining -= 1
                assert int(answer.headers["x-ratelimit-remaining"]) == remaining, (door.name, answer.headers)
                resets.add(answer.headers["x-ratelimit-reset"])
        assert remaining == 0 and len(resets) == 1, resets
        for door in all_doors:
            answer = await door.ask("GET", path, leave)
            error = answer.json(429)["error"]
            has(error, code="RATE_LIMITED", message=lambda text: isinstance(text, str) and text, details=lambda it: isinstance(it, dict))
            has_rate(answer)
            assert answer.headers["x-ratelimit-remaining"] == "0" and answer.headers["x-ratelimit-reset"] in resets, answer.headers
            wait = int(answer.headers["retry-after"])
            assert 1 <= wait <= WINDOW_SECONDS, answer.headers
            assert abs(time.time() + wait - int(answer.headers["x-ratelimit-reset"])) <= 2, answer.headers
        assert time.monotonic() - started < WINDOW_SECONDS, "too slow to tell"


async def main():
    wish = json.loads(sys.stdin.readline())
    await {"examples": examples, "limit": limit}[wish["story"]](wish)
    print(json.dumps({"event": "done", "story": wish["story"]}), flush=True)


asyncio.run(main())
