#!/usr/bin/env python3
"""What stands behind the gateways of the examples: answers every request with who the gateway says is asking.

It counts what the gateways let through; GET /count, asked directly, says how much that is.

Usage: deploy/upstream.py HOST PORT
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    request_queue_size = 1024
    lock = threading.Lock()
    count = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    disable_nagle_algorithm = True

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        said = {name: self.headers.get(f"x-tollgate-{name}") for name in ("organization", "project", "key-id", "plan")}
        if said["key-id"]:
            with self.server.lock:
                self.server.count += 1
        answer = {"path": self.path, **said, "request-id": self.headers.get("x-request-id")}
        if self.path == "/count" and not said["key-id"]:
            answer = {"count": self.server.count}
        body = json.dumps(answer).encode() + b"\n"
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = answer

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    Server((sys.argv[1], int(sys.argv[2])), Handler).serve_forever()
