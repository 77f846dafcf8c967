"""Asks the gateway with Python's httpx (Debian: python3-httpx, and python3-h2 for HTTP/2).

    python3 with_httpx.py https://gateway.example:8443 gateway-ca.pem system.pem 2

system.pem holds the system's certificate and its private key; the last argument is the HTTP version, 1.1 or 2.
Prints one JSON object with the answers.
"""

import json
import sys
import unicodedata

import httpx

gateway, authority, identity, version = sys.argv[1:]
citizen = {"id": "001187974118", "full_name": "Lê Thị Hoa", "date_of_birth": "1987-03-14"}
for_assessment = {"Gateway-Purpose": "assessment"}

with httpx.Client(base_url=gateway, verify=authority, cert=identity, http2=version == "2", timeout=30) as client:
    # Names are UTF-8. Composed (NFC) and decomposed (NFD) spellings are the same name.
    lookups = []
    for form in ["NFC", "NFD"]:
        keys = citizen | {"full_name": unicodedata.normalize(form, citizen["full_name"])}
        answer = client.post("/population/v1/citizens/lookup", json=keys, headers=for_assessment)
        answer.raise_for_status()
        lookups.append(answer.json())

    path = f"/population/v1/citizens/{citizen['id']}"
    answer = client.get(path, headers=for_assessment)
    answer.raise_for_status()
    read = answer.json()

    # Which of these claims are right? The answer is yes or no for each.
    claims = citizen | {"phone": "0900000000"}
    answer = client.post("/population/v1/citizens/verify", json=claims, headers=for_assessment)
    answer.raise_for_status()
    verified = answer.json()

    # Without a purpose the gateway refuses: application/problem+json, where `code` is stable and `detail` says what to do.
    answer = client.get(path)
    problem = answer.json()
    refused = {"status": answer.status_code, "code": problem["code"], "detail": problem["detail"]}

print(json.dumps({"lookups": lookups, "read": read, "verified": verified, "refused": refused}))
