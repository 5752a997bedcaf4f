"""An HTTP receiver on a free port of the loopback interface that fails at first: receiver.py FOLDER FAILURES

Prints its port, then each request that arrives and its answer: 500 to the first FAILURES, then 200.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from arrivals import Arrivals

arrivals = Arrivals(sys.argv[1])
failures = int(sys.argv[2])


def pretty(value, margin=""):
    """JSON, an object's members a line each; anything else on one line."""
    if not isinstance(value, dict):
        return json.dumps(value)
    deeper = margin + "  "
    members = ",\n".join(f"{deeper}{json.dumps(name)}: {pretty(member, deeper)}" for name, member in value.items())
    return f"{{\n{members}\n{margin}}}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = (500, "maintenance") if arrivals.count < failures else (200, "thank you")
        arrivals.add("a webhook arrived", "\n".join((
            f"POST {self.path}",
            f"webhook-id: {self.headers['webhook-id']}",
            f"content-type: {self.headers['content-type']}",
            "",
            pretty(body),
            "",
            f"answered: {status} {answer}",
        )))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *arguments):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
