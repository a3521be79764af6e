"""A local HTTP server that sends files well or badly."""

import os
import re
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """Serves `files`, bytes by name, at `url(name)`; a context manager.

    Attributes:
        ranges: whether parts of files can be asked for.
        cuts: for each of the next requests, after how many bytes the connection is lost.
        resets: whether a connection that is lost is reset, rather than ended.
        statuses: what the next requests are answered with instead of a file.
        requests: the name and the Range header, or None, of each request so far.
        lengths: whether Content-Length is sent.
    """

    daemon_threads = True

    def __init__(self, **files: bytes):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.ranges, self.lengths = True, True
        self.resets = False
        self.cuts, self.statuses, self.requests = [], [], []

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, name, asked = self.server, self.path[1:], self.headers["Range"]
        server.requests.append((name, asked))
        if server.statuses:
            return self.send_error(server.statuses.pop(0))
        if name not in server.files:
            return self.send_error(404)
        data = server.files[name]
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        if start and start >= len(data):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        if server.lengths:
            self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        self.wfile.write(data[start:] if cut is None else data[start : start + cut])
        if cut is not None and server.resets:
            # Closed with no time to linger, and without the end that `finish` would say before.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            os.close(self.connection.detach())

    def log_message(self, *arguments):
        """Nothing: requests are in `requests`."""
