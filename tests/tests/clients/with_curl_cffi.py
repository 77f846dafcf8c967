"""Asks the gateway over HTTP/3 with libcurl, by its Python binding (PyPI: curl_cffi).

    python with_curl_cffi.py https://gateway.example:8443 gateway-ca.pem system.pem

system.pem holds the system's certificate and its private key. Prints one JSON object with the answers.
"""

import json
import sys
import unicodedata

from curl_cffi import CurlHttpVersion, requests

gateway, authority, *identity = sys.argv[1:]
citizen = {"id": "001187974118", "full_name": "Lê Thị Hoa", "date_of_birth": "1987-03-14"}
for_assessment = {"Gateway-Purpose": "assessment"}

# V3ONLY does not fall back to TCP; V3 would.
settings = {"http_version": CurlHttpVersion.V3ONLY, "verify": authority, "timeout": 30}
if identity:
    settings["cert"] = identity[0]
with requests.Session(**settings) as client:
    # Names are UTF-8. Composed (NFC) and decomposed (NFD) spellings are the same name.
    lookups = []
    for form in ["NFC", "NFD"]:
        keys = citizen | {"full_name": unicodedata.normalize(form, citizen["full_name"])}
        answer = client.post(f"{gateway}/population/v1/citizens/lookup", json=keys, headers=for_assessment)
        answer.raise_for_status()
        lookups.append(answer.json())

    path = f"{gateway}/population/v1/citizens/{citizen['id']}"
    answer = client.get(path, headers=for_assessment)
    answer.raise_for_status()
    read = answer.json()

    # Without a purpose the gateway refuses: application/problem+json, where `code` is stable and `detail` says what to do.
    answer = client.get(path)
    problem = answer.json()
    refused = {"status": answer.status_code, "code": problem["code"], "detail": problem["detail"]}

print(json.dumps({"lookups": lookups, "read": read, "refused": refused}))
