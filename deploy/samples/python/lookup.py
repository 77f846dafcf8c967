"""Looks one citizen up through the gateway, with httpx (pip install httpx, or Debian's python3-httpx).

    export GATEWAY_URL=https://gateway.example:8443
    export GATEWAY_CA=gateway-ca.pem        # the authority of the gateway's certificate
    export GATEWAY_IDENTITY=system.pem      # this system's certificate and private key
    python3 lookup.py < keys.json           # {"id": "...", "full_name": "...", "date_of_birth": "..."}

Prints the fields that this system may see, one a line. Ends with 2 if nobody matches, with 1 if refused.
"""

import json
import os
import sys
import time

import httpx

PURPOSE = os.environ.get("GATEWAY_PURPOSE", "assessment")
ATTEMPTS = 5
LONGEST = 60  # seconds: what would take longer is for an operator


def look_up(client, keys):
    for attempt in range(1, ATTEMPTS + 1):
        answer = client.post("/population/v1/citizens/lookup", json=keys, headers={"Gateway-Purpose": PURPOSE})
        # Over the rate, or something behind the gateway is down for now: it says in how many seconds to come again.
        wait = int(answer.headers.get("Retry-After", LONGEST + 1))
        if answer.status_code not in (429, 503, 504) or wait > LONGEST or attempt == ATTEMPTS:
            return answer
        print(f"{answer.status_code} {answer.json()['code']}: again in {wait} s", file=sys.stderr)
        time.sleep(wait)


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
    if answer.status_code == 200:
        for name, value in fields(answer.json()):
            print(f"{name}: {value}")
        return 0
    # application/problem+json: `code` is stable, `detail` says what to do.
    problem = answer.json()
    if problem["code"] == "no_match":
        print("nobody matches: check the number, the name and the date of birth", file=sys.stderr)
        return 2
    request = answer.headers.get("Gateway-Request-Id")
    print(f"refused: {problem['code']}: {problem['detail']} (request {request})", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
