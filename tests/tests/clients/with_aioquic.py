"""Asks the gateway over HTTP/3 with aioquic (PyPI: aioquic).

    python with_aioquic.py https://gateway.example:8443 gateway-ca.pem system.pem

system.pem holds the system's certificate and its private key. Prints one JSON object with the answers.
"""

import asyncio
import json
import sys
import unicodedata
from urllib.parse import urlsplit

from aioquic.asyncio import QuicConnectionProtocol, connect
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated

gateway, authority, *identity = sys.argv[1:]
gateway = urlsplit(gateway)
citizen = {"id": "001187974118", "full_name": "Lê Thị Hoa", "date_of_birth": "1987-03-14"}
for_assessment = {"Gateway-Purpose": "assessment"}


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http, self.answers = H3Connection(self._quic), {}

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            for future, *_ in self.answers.values():
                if not future.done():
                    future.set_exception(ConnectionError(f"{event.error_code:#x} {event.reason_phrase}"))
        for event in self.http.handle_event(event):
            if not isinstance(event, (HeadersReceived, DataReceived)) or event.stream_id not in self.answers:
                continue
            future, headers, body = self.answers[event.stream_id]
            if isinstance(event, HeadersReceived):
                headers.update(event.headers)
            else:
                body.extend(event.data)
            if event.stream_ended and not future.done():
                future.set_result((int(headers[b":status"]), json.loads(body)))

    async def ask(self, method, path, purpose={}, keys=None):
        body = b"" if keys is None else json.dumps(keys).encode()
        headers = {":method": method, ":scheme": "https", ":authority": gateway.netloc, ":path": path, **purpose}
        if keys is not None:
            headers |= {"content-type": "application/json", "content-length": str(len(body))}
        stream = self._quic.get_next_available_stream_id()
        self.answers[stream] = asyncio.get_running_loop().create_future(), {}, bytearray()
        fields = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        self.http.send_headers(stream, fields, end_stream=keys is None)
        if keys is not None:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        return await asyncio.wait_for(self.answers[stream][0], 30)


async def main():
    configuration = QuicConfiguration(alpn_protocols=H3_ALPN, server_name=gateway.hostname)
    configuration.load_verify_locations(authority)
    for file in identity:
        configuration.load_cert_chain(file)
    async with connect(gateway.hostname, gateway.port, configuration=configuration, create_protocol=Client) as client:
        # Names are UTF-8. Composed (NFC) and decomposed (NFD) spellings are the same name.
        lookups = []
        for form in ["NFC", "NFD"]:
            keys = citizen | {"full_name": unicodedata.normalize(form, citizen["full_name"])}
            status, answer = await client.ask("POST", "/population/v1/citizens/lookup", for_assessment, keys)
            assert status == 200, answer
            lookups.append(answer)

        path = f"/population/v1/citizens/{citizen['id']}"
        status, read = await client.ask("GET", path, for_assessment)
        assert status == 200, read

        # Without a purpose the gateway refuses: application/problem+json, where `code` is stable and `detail` says what to do.
        status, problem = await client.ask("GET", path)
        refused = {"status": status, "code": problem["code"], "detail": problem["detail"]}
    print(json.dumps({"lookups": lookups, "read": read, "refused": refused}))


asyncio.run(main())
