"""The HTTP requests in streams of bytes (as base64), as Python's own server reads them."""

import base64
import http.server
import io
import json
import sys


class Reader(http.server.BaseHTTPRequestHandler):
    def __init__(self, stream):
        self.rfile = stream
        self.wfile = io.BytesIO()

    def read(self):
        self.raw_requestline = self.rfile.readline()
        if not self.raw_requestline:
            return None
        self.close_connection = False
        if not self.parse_request():
            return {"refused": self.raw_requestline.decode("latin-1")}
        length = int(self.headers["Content-Length"])
        return {
            "method": self.command,
            "path": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "body": self.rfile.read(length).decode(),
        }

    def send_error(self, *_):
        pass


requests = []
for stream in json.load(sys.stdin):
    reader = Reader(io.BytesIO(base64.b64decode(stream)))
    requests += iter(reader.read, None)
print(json.dumps(requests))
