"""What stands on loopback for a vendor's service: it keeps every request that an exporter makes."""

import gzip
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[str, bytes], bytes]
"""Path and body of a request to the body of the answer."""

_UNPACK: dict[str | None, Callable[[bytes], bytes]] = {
    None: bytes,
    "": bytes,
    "identity": bytes,
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
}


@dataclass(frozen=True)
class Request:
    """One request, its body unpacked."""

    path: str
    headers: Mapping[str, str]
    body: bytes


class Receiver:
    """The requests so far, in the order in which they came."""

    def __init__(self) -> None:
        self.port = 0
        self._lock = threading.Lock()
        self._requests: list[Request] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def keep(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)

    def bodies(self, *paths: str) -> list[bytes]:
        """What was sent to these paths, whatever their query."""
        with self._lock:
            return [each.body for each in self._requests if each.path.split("?")[0] in paths]

    @property
    def paths(self) -> list[str]:
        with self._lock:
            return sorted({each.path for each in self._requests})


def receive(answer: Answer) -> Receiver:
    """Receive until the process ends: exporters flush on its way out."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            unpack = _UNPACK[self.headers.get("Content-Encoding")]
            body = unpack(self._body())
            receiver.keep(Request(self.path, dict(self.headers), body))
            said = answer(self.path.split("?")[0], body)
            self.send_response(200)
            self.send_header("Content-Type", "application/json" if said else "text/plain")
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_PUT = do_POST  # noqa: N815  # the names of http.server

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", "0")))
            chunks = []
            while size := int(self.rfile.readline(), 16):
                chunks.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(chunks)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing of each request."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    receiver.port = server.server_port
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return receiver
