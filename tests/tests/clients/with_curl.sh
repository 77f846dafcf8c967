#!/usr/bin/env bash
# Asks the gateway with curl. Needs curl 7.82 or newer (for --json).
#
#   with_curl.sh https://gateway.example:8443 gateway-ca.pem system.pem 2
#
# system.pem holds the system's certificate and its private key; the last argument is the HTTP version, 1.1 or 2.
# Prints one JSON object with the answers.
set -euo pipefail
gateway=$1 authority=$2 identity=$3 version=$4
[ "$version" = 2 ] && version=--http2 || version=--http1.1

ask() { # PATH [CURL-OPTION...]
    local path=$1
    shift
    curl --silent --show-error --max-time 30 "$version" --cacert "$authority" --cert "$identity" "$@" "$gateway$path"
}
for_assessment='Gateway-Purpose: assessment'

# Names are UTF-8. Composed (NFC) and decomposed (NFD) spellings are the same name.
composed=$'L\xc3\xaa Th\xe1\xbb\x8b Hoa'
decomposed=$'Le\xcc\x82 Thi\xcc\xa3 Hoa'
lookup() {
    ask /population/v1/citizens/lookup -H "$for_assessment" \
        --json "{\"id\": \"001187974118\", \"full_name\": \"$1\", \"date_of_birth\": \"1987-03-14\"}"
}
nfc=$(lookup "$composed")
nfd=$(lookup "$decomposed")

read=$(ask /population/v1/citizens/001187974118 -H "$for_assessment")

# Which of these claims are right? The answer is yes or no for each.
verified=$(ask /population/v1/citizens/verify -H "$for_assessment" \
    --json "{\"id\": \"001187974118\", \"full_name\": \"$composed\", \"date_of_birth\": \"1987-03-14\", \"phone\": \"0900000000\"}")

# Without a purpose the gateway refuses: application/problem+json, where `code` is stable and `detail` says what to do.
# --write-out puts the status on a line of its own.
refused=$(ask /population/v1/citizens/001187974118 --write-out '\n%{http_code}')
status=${refused##*$'\n'}
code=$(sed -En 's/.*"code": *"([^"]*)".*/\1/p' <<<"$refused")
detail=$(sed -En 's/.*"detail": *"([^"]*)".*/\1/p' <<<"$refused")

printf '{"lookups": [%s, %s], "read": %s, "verified": %s, "refused": {"status": %s, "code": "%s", "detail": "%s"}}\n' \
    "$nfc" "$nfd" "$read" "$verified" "$status" "$code" "$detail"
