"""A participant on aioquic: joins, publishes and subscribes by the contract alone, sharing no code with the project.

In, one JSON object on standard input:
    {"proto": folder of the contract, "meeting_controller_url", "certificate_hashes": [base64], "meeting_id", "join_token", "name",
     "publish": {"stream_id", "records", "group", "payload_bytes"}, "expect": records of others to wait for}
Out, one JSON object a line on standard output:
    {"event": "joined", "participant_id"}, {"event": "welcomed"}, {"event": "published"}, {"event": "subscribed", "stream_id"},
    {"event": "record", "bytes": hex}, {"event": "done"}
It ends by itself when its own records are out and the expected ones are in; an exception is a failed test.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import ssl
import struct
import sys
import tempfile
import time
import uuid
from urllib.parse import urlsplit

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, FrameType, H3Connection
from aioquic.h3.events import HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated
from cryptography.hazmat.primitives.serialization import Encoding
from grpc_tools import protoc

VERSION = 1
HEADER = struct.Struct(">BB16sQQIH6s")  # 46 bytes: the media frame header
KEY, DELTA = 1, 2
RESERVED = bytes.fromhex("c0ffee00beef")
FLAGS = 0x8001  # end of frame, and a reserved bit that must pass
CONTROL_STREAM = b"\x00"


def contract(folder):
    """Compiles the contract and imports it."""
    out = tempfile.mkdtemp(prefix="dark-tower-proto-")
    files = ["darktower/v1/signaling.proto", "darktower/v1/media.proto"]
    if protoc.main(["protoc", f"-I{folder}", f"--python_out={out}", *files]) != 0:
        raise RuntimeError("the contract does not compile")
    sys.path.insert(0, out)
    from darktower.v1 import media_pb2, signaling_pb2

    return signaling_pb2, media_pb2


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


class Session(QuicConnectionProtocol):
    """One WebTransport session on a connection of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None
        self.session_id = None
        self.accepted = asyncio.get_running_loop().create_future()
        self.streams = {}
        self.incoming = asyncio.Queue()

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic, enable_webtransport=True)
        if isinstance(event, ConnectionTerminated):
            for reader in self.streams.values():
                reader.feed_eof()
            if not self.accepted.done():
                self.accepted.set_exception(ConnectionError(f"{event.error_code} {event.reason_phrase}"))
        if self.http is not None:
            for http_event in self.http.handle_event(event):
                self.http_event(http_event)

    def http_event(self, event):
        if isinstance(event, HeadersReceived) and event.stream_id == self.session_id and not self.accepted.done():
            status = dict(event.headers).get(b":status")
            if status == b"200":
                self.accepted.set_result(None)
            else:
                self.accepted.set_exception(ConnectionError(f"CONNECT was answered {status}"))
        if isinstance(event, WebTransportStreamDataReceived):
            reader = self.streams.get(event.stream_id)
            if reader is None:
                reader = self.streams[event.stream_id] = asyncio.StreamReader()
                self.incoming.put_nowait(reader)
            reader.feed_data(event.data)
            if event.stream_ended:
                reader.feed_eof()

    async def establish(self, url, hashes):
        certificate = self._quic.tls._peer_certificate.public_bytes(Encoding.DER)
        if hashlib.sha256(certificate).digest() not in hashes:
            raise ssl.SSLCertVerificationError("the certificate is not the one that the API named")
        self.session_id = self._quic.get_next_available_stream_id()
        headers = {":method": "CONNECT", ":scheme": "https", ":authority": url.netloc, ":path": url.path, ":protocol": "webtransport"}
        self.http.send_headers(self.session_id, [(name.encode(), value.encode()) for name, value in headers.items()])
        self.transmit()
        await self.accepted

    def open_bi(self):
        stream = self.http.create_webtransport_stream(self.session_id)
        # What the server answers on a stream of ours has no WebTransport header: aioquic must be told whose it is.
        with self.http._get_or_create_stream(stream) as state:
            state.frame_type = FrameType.WEBTRANSPORT_STREAM
            state.session_id = self.session_id
        reader = self.streams[stream] = asyncio.StreamReader()
        return stream, reader

    def open_uni(self):
        return self.http.create_webtransport_stream(self.session_id, is_unidirectional=True)

    def write(self, stream, data, end=False):
        self._quic.send_stream_data(stream, data, end)
        self.transmit()


@contextlib.asynccontextmanager
async def dial(url, hashes):
    parts = urlsplit(url)
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, max_datagram_frame_size=65536, server_name=parts.hostname
    )
    async with connect(parts.hostname, parts.port, configuration=configuration, create_protocol=Session) as session:
        await session.establish(parts, hashes)
        yield session


def framed(message):
    body = message.SerializeToString()
    return struct.pack(">I", len(body)) + body


async def read_message(reader, kind):
    (length,) = struct.unpack(">I", await reader.readexactly(4))
    return kind.FromString(await reader.readexactly(length))


class Signaling:
    """Requests with one reply each; what comes unasked is handed to `unasked`."""

    def __init__(self, session, contract, unasked):
        self.session, self.contract, self.unasked = session, contract, unasked
        self.stream, self.reader = session.open_bi()
        self.replies, self.last = {}, 0

    async def listen(self):
        while True:
            message = await read_message(self.reader, self.contract.ServerMessage)
            waiting = self.replies.pop(message.request_id, None)
            if waiting is not None:
                waiting.set_result(message)
            else:
                self.unasked(message)

    async def request(self, expected, **body):
        self.last += 1
        reply = self.replies[self.last] = asyncio.get_running_loop().create_future()
        self.session.write(self.stream, framed(self.contract.ClientMessage(version=VERSION, request_id=self.last, **body)))
        message = await reply
        if message.WhichOneof("body") != expected:
            raise RuntimeError(f"instead of {expected} came {message}")
        return getattr(message, expected)


async def publish(session, stream_id, records, group, payload_bytes):
    """A group per QUIC stream; every payload tells its sequence."""
    stream = None
    for sequence in range(records):
        is_key = sequence % group == 0
        if is_key and stream is not None:
            session.write(stream, b"", end=True)
        if is_key:
            stream = session.open_uni()
        payload = (struct.pack(">Q", sequence) * (payload_bytes // 8 + 1))[:payload_bytes]
        now_us = time.time_ns() // 1000
        kind = KEY if is_key else DELTA
        header = HEADER.pack(VERSION, kind, stream_id.bytes, now_us, sequence, len(payload), FLAGS, RESERVED)
        say("sent", bytes=(header + payload).hex())
        # In two pieces: a record need not arrive in one.
        session.write(stream, header + payload[: payload_bytes // 2])
        await asyncio.sleep(0)
        session.write(stream, payload[payload_bytes // 2 :])
        await asyncio.sleep(1 / 50)
    session.write(stream, b"", end=True)


async def collect(session, expected):
    """Reads groups as they come and says each record, until there are enough."""
    enough = asyncio.get_running_loop().create_future()
    seen = 0

    async def read_group(reader):
        nonlocal seen
        while True:
            try:
                header = await reader.readexactly(HEADER.size)
            except asyncio.IncompleteReadError as end:
                if end.partial:
                    raise
                return
            payload = await reader.readexactly(HEADER.unpack(header)[5])
            say("record", bytes=(header + payload).hex())
            seen += 1
            if seen == expected:
                enough.set_result(None)

    async def accept():
        groups = set()
        while True:
            groups.add(asyncio.create_task(read_group(await session.incoming.get())))

    accepting = asyncio.create_task(accept())
    await enough
    accepting.cancel()


async def main():
    wish = json.loads(sys.stdin.readline())
    signaling_contract, media_contract = contract(wish["proto"])
    hashes = [base64.b64decode(text) for text in wish["certificate_hashes"]]
    published_by_others = asyncio.Queue()

    def unasked(message):
        if message.WhichOneof("body") == "stream_published":
            published_by_others.put_nowait(message.stream_published.stream.stream_id)

    async with dial(wish["meeting_controller_url"], hashes) as controller:
        signaling = Signaling(controller, signaling_contract, unasked)
        listening = asyncio.create_task(signaling.listen())
        request = signaling_contract.JoinRequest(
            meeting_id=wish["meeting_id"], join_token=wish["join_token"], participant_name=wish["name"], auto_subscribe=False
        )
        welcome = await signaling.request("join", join=request)
        say("joined", participant_id=welcome.participant_id)
        for participant in welcome.existing_participants:
            for stream in participant.streams:
                published_by_others.put_nowait(stream.stream_id)

        info = welcome.media_server
        async with dial(info.media_handler_url, list(info.certificate_hashes)) as handler:
            control, answers = handler.open_bi()
            hello = media_contract.MediaClientMessage(
                version=VERSION, hello=media_contract.MediaHello(connection_token=info.connection_token)
            )
            handler.write(control, CONTROL_STREAM + framed(hello))
            answer = await read_message(answers, media_contract.MediaServerMessage)
            if answer.WhichOneof("body") != "welcome":
                raise RuntimeError(f"instead of a welcome came {answer}")
            say("welcomed")

            mine = wish["publish"]
            stream_id = uuid.UUID(mine["stream_id"])
            video = signaling_contract.VideoMetadata(width=320, height=180, framerate=50)
            publication = signaling_contract.PublishStream(
                stream_id=str(stream_id),
                stream_type=signaling_contract.VIDEO_CAMERA,
                metadata=signaling_contract.StreamMetadata(codec="VP9", video=video),
            )
            await signaling.request("ack", publish=publication)
            say("published")

            collecting = asyncio.create_task(collect(handler, wish["expect"]))
            theirs = await published_by_others.get()
            await signaling.request("ack", subscribe=signaling_contract.SubscribeStream(stream_id=theirs))
            say("subscribed", stream_id=theirs)

            await publish(handler, stream_id, mine["records"], mine["group"], mine["payload_bytes"])
            await collecting
            # Wait until the other side has said that it has everything; leaving withdraws the media stream.
            await asyncio.to_thread(sys.stdin.readline)
            await signaling.request("ack", leave=signaling_contract.Leave())
            say("done")
        listening.cancel()


asyncio.run(main())
