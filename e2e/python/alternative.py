"""A client that honours Alt-Svc (RFC 7838), niquests: it comes over TCP first, and over HTTP/3 from then on.

In, one JSON object on standard input: {"url"}. Out, one JSON object a line: {"event": "answer", "version": 11, 20 or 30}, {"event": "done"}; an
exception is a failed test.
"""

import json
import sys

import niquests

TIMEOUT_SECONDS = 20
# It is told of the alternative with the first answer; some clients ask once more before they trust it.
REQUESTS = 3

wish = json.loads(sys.stdin.readline())
with niquests.Session() as session:
    for _ in range(REQUESTS):
        answer = session.get(f"{wish['url']}/healthz", timeout=TIMEOUT_SECONDS, verify=False)
        assert answer.status_code == 200 and answer.text == "ok\n", answer.text
        print(json.dumps({"event": "answer", "version": answer.http_version}), flush=True)
print(json.dumps({"event": "done"}), flush=True)
