"""A collector of traces (OTLP by HTTP) on a port of the loopback interface: trace_server.py [PORT [HEADER VALUE]].

Prints its port, then each export that it takes as one line of JSON, decoded with the protocol's own definitions. With HEADER, one
that does not have VALUE there is refused. Ends with its standard input.
"""

import gzip
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest, ExportTraceServiceResponse

port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
header, value = sys.argv[2:4] if len(sys.argv) > 2 else (None, None)
printing = threading.Lock()


def attributes(pairs):
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def span(found):
    return {
        "trace_id": found.trace_id.hex(),
        "span_id": found.span_id.hex(),
        "parent_span_id": found.parent_span_id.hex(),
        "name": found.name,
        "kind": type(found).SpanKind.Name(found.kind),
        "nanoseconds": found.end_time_unix_nano - found.start_time_unix_nano,
        "attributes": attributes(found.attributes),
        "status": type(found.status).StatusCode.Name(found.status.code),
        "said": found.status.message,
        "events": len(found.events),
    }


class Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        right = self.path == "/v1/traces" and self.headers["Content-Type"] == "application/x-protobuf"
        if header and self.headers[header] != value:
            return self.answer(401, b"")
        if not right:
            return self.answer(404, b"")
        compressed = self.headers["Content-Encoding"] == "gzip"
        request = ExportTraceServiceRequest.FromString(gzip.decompress(body) if compressed else body)
        for found in request.resource_spans:
            line = json.dumps({
                "resource": attributes(found.resource.attributes),
                "spans": [span(one) for scope in found.scope_spans for one in scope.spans],
                "compressed": compressed,
                "raw": body.decode("latin-1"),
            })
            with printing:
                print(line, flush=True)
        self.answer(200, ExportTraceServiceResponse().SerializeToString())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", port), Collector)
server.daemon_threads = True
print(server.server_address[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
