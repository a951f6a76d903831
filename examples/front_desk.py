"""The front desk: opens a meeting, hands out its link, and says who comes and goes. Needs nothing but Python."""

import base64, hmac, json, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.request import Request, urlopen

with open(sys.argv[1]) as file:
    tower = json.load(file)  # where the API is, and the credentials of an API client


def call(method, path, body=None, headers={}):
    request = Request(tower["http_url"] + path, json.dumps(body or {}).encode(), {"Content-Type": "application/json", **headers}, method=method)
    with urlopen(request) as answer:
        return json.loads(answer.read() or "{}")


def is_genuine(headers, body):  # as https://www.standardwebhooks.com says
    sent = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, sent, "sha256")).decode()
    is_fresh = abs(time.time() - int(headers["webhook-timestamp"] or 0)) < 300
    return is_fresh and any(hmac.compare_digest(expected, one) for one in (headers["webhook-signature"] or "").split())


class Desk(BaseHTTPRequestHandler):
    log_message = lambda *_: None  # what happens is said below

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        genuine = is_genuine(self.headers, body)
        self.send_response(204 if genuine else 401)
        self.end_headers()
        event = json.loads(body) if genuine else {"meeting_id": None}
        if event["meeting_id"] == meeting["meeting_id"] and event["id"] not in seen:  # an event may come twice
            seen[event["id"]] = event["type"]
            name, reason = event["data"].get("display_name"), event["data"].get("reason")
            lines = {"participant.joined": f"{name} has come in", "participant.left": f"{name} has left: {reason}"}
            print(lines.get(event["type"], event["type"]), flush=True)


client = {"grant_type": "client_credentials", "client_id": tower["client_id"], "client_secret": tower["client_secret"]}
bearer = {"Authorization": f"Bearer {call('POST', '/api/v1/auth/token', client)['access_token']}"}
desk, seen = HTTPServer(("127.0.0.1", 0), Desk), {}
webhook = call("POST", "/api/v1/webhooks", {"url": f"http://127.0.0.1:{desk.server_port}/"}, bearer)
key = base64.b64decode(webhook["secret"].removeprefix("whsec_"))
try:
    meeting = call("POST", "/api/v1/meetings", {"display_name": "Front desk"}, bearer)
    print(f"send this to everyone: {meeting['meeting_url']}", flush=True)
    while "meeting.ended" not in seen.values():
        desk.handle_request()
except KeyboardInterrupt:
    pass
finally:
    call("DELETE", f"/api/v1/webhooks/{webhook['webhook_id']}", headers=bearer)
