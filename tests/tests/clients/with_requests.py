"""Asks the gateway with Python's requests (Debian: python3-requests), which speaks HTTP/1.1 only.

    python3 with_requests.py https://gateway.example:8443 gateway-ca.pem system.pem

system.pem holds the system's certificate and its private key. Prints one JSON object with the answers.
"""

import json
import sys
import unicodedata

import requests

gateway, authority, identity = sys.argv[1:4]
citizen = {"id": "001187974118", "full_name": "Lê Thị Hoa", "date_of_birth": "1987-03-14"}
for_assessment = {"Gateway-Purpose": "assessment"}

with requests.Session() as session:
    session.trust_env = False  # else REQUESTS_CA_BUNDLE in the environment wins over session.verify
    session.verify = authority
    session.cert = identity

    # Names are UTF-8. Composed (NFC) and decomposed (NFD) spellings are the same name.
    lookups = []
    for form in ["NFC", "NFD"]:
        keys = citizen | {"full_name": unicodedata.normalize(form, citizen["full_name"])}
        url = f"{gateway}/population/v1/citizens/lookup"
        answer = session.post(url, json=keys, headers=for_assessment, timeout=30)
        answer.raise_for_status()
        lookups.append(answer.json())

    url = f"{gateway}/population/v1/citizens/{citizen['id']}"
    answer = session.get(url, headers=for_assessment, timeout=30)
    answer.raise_for_status()
    read = answer.json()

    # Which of these claims are right? The answer is yes or no for each.
    claims = citizen | {"phone": "0900000000"}
    answer = session.post(f"{gateway}/population/v1/citizens/verify", json=claims, headers=for_assessment, timeout=30)
    answer.raise_for_status()
    verified = answer.json()

    # Without a purpose the gateway refuses: application/problem+json, where `code` is stable and `detail` says what to do.
    answer = session.get(url, timeout=30)
    problem = answer.json()
    refused = {"status": answer.status_code, "code": problem["code"], "detail": problem["detail"]}

print(json.dumps({"lookups": lookups, "read": read, "verified": verified, "refused": refused}))
