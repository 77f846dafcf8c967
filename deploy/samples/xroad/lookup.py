"""Looks one citizen up as an exchange server does, for one of its clients, by X-Road's REST protocol. With httpx (pip install httpx,
or Debian's python3-httpx).

    export GATEWAY_URL=https://gateway.example:8443
    export GATEWAY_CA=gateway-ca.pem        # the authority of the gateway's certificate
    export GATEWAY_IDENTITY=exchange.pem    # the exchange server's certificate and private key
    export XROAD_CLIENT=VN/GOV/TAX/ETAX     # for whom it asks
    python3 lookup.py < keys.json           # {"id": "...", "full_name": "...", "date_of_birth": "..."}

Prints the fields that the client may see, one a line. Ends with 2 if nobody matches, with 1 if refused, or if the answer is bound to
another message.
"""

import base64
import hashlib
import json
import os
import sys
import time
import uuid

import httpx

CLIENT = os.environ.get("XROAD_CLIENT", "VN/GOV/TAX/ETAX")
# Each part of an identifier is percent-encoded; here, none needs it.
SERVICE = "/r1/VN/GOV/MPS/NPDB/population"
PURPOSE = os.environ.get("GATEWAY_PURPOSE", "assessment")
ATTEMPTS = 5
LONGEST = 60  # seconds: what would take longer is for an operator

# Not part of a message's hash (PR-REST, section 4.3): they are of one hop, or name a host or a program.
ONE_HOP = {
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "server", "te",
    "trailer", "transfer-encoding", "upgrade", "user-agent", "x-road-request-hash", "x-road-request-id",
}  # fmt: skip


def look_up(client, keys):
    for attempt in range(1, ATTEMPTS + 1):
        # Each attempt is a message of its own.
        headers = {"X-Road-Client": CLIENT, "X-Road-Id": str(uuid.uuid4()), "Gateway-Purpose": PURPOSE}
        answer = client.post(f"{SERVICE}/citizens/lookup", json=keys, headers=headers)
        # Over the rate, or something behind the gateway is down for now: it says in how many seconds to come again.
        wait = int(answer.headers.get("Retry-After", LONGEST + 1))
        if answer.status_code not in (429, 503, 504) or wait > LONGEST or attempt == ATTEMPTS:
            return answer
        print(f"{answer.status_code} {answer.json()['code']}: again in {wait} s", file=sys.stderr)
        time.sleep(wait)


def is_bound(answer):
    """Whether the answer is to the message that was sent: X-Road-Request-Hash is its hash, made again here."""
    sent = answer.request
    lines = [sent.method, sent.url.raw_path.decode()]
    for name, value in sent.headers.multi_items():
        if name.lower() not in ONE_HOP:
            lines.append(f"{name.lower()}:{value}")
    lines.append(f"x-road-request-id:{answer.headers['X-Road-Request-Id']}")
    hashed = hashlib.sha512("".join(line + "\r\n" for line in lines).encode()).digest()
    if sent.content:
        hashed = hashlib.sha512(hashed + hashlib.sha512(sent.content).digest()).digest()
    return answer.headers.get("X-Road-Request-Hash") == base64.b64encode(hashed).decode()


def fields(value, name=""):
    """Every field with its path, such as `permanent_residence.province`. A field that is withheld is not there."""
    if isinstance(value, dict | list):
        for key, member in value.items() if isinstance(value, dict) else enumerate(value):
            yield from fields(member, f"{name}.{key}" if name else str(key))
    else:
        yield name, value if isinstance(value, str) else json.dumps(value)


def main():
    tls = {"verify": os.environ["GATEWAY_CA"], "cert": os.environ["GATEWAY_IDENTITY"]}
    with httpx.Client(base_url=os.environ["GATEWAY_URL"], timeout=30, trust_env=False, **tls) as client:
        try:
            answer = look_up(client, json.load(sys.stdin))
        except httpx.TransportError as error:
            print(f"no answer: {error}", file=sys.stderr)
            return 1
    # On a refusal by the exchange or the gateway there is X-Road-Error and no hash. That nobody matches is an answer of the service.
    if "X-Road-Error" in answer.headers:
        error, request = answer.json(), answer.headers["X-Road-Request-Id"]
        print(f"refused: {error['code']}: {error['detail']} (request {request}, {error['type']})", file=sys.stderr)
        return 1
    if not is_bound(answer):
        print("the answer is bound to another message: do not use it", file=sys.stderr)
        return 1
    if answer.status_code == 200:
        for name, value in fields(answer.json()):
            print(f"{name}: {value}")
        return 0
    print("nobody matches: check the number, the name and the date of birth", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
