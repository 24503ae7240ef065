#!/usr/bin/python3
"""A metadata service of a virtual machine, for tests, by AWS's contract for
version 2 (and with version 1 switched off).

	imds.py DIRECTORY ADDRESS PORT

In DIRECTORY, read at each request:

	role      the name of the machine's role; none: it has none
	keys      what the role's document is
	how       what goes wrong: "hop" (the token's answer gets lost, as where
	          a container is one hop too far), "hang" (silence), "off"
	          (forbidden, as where it is switched off), "throttle"
	log       written: "METHOD PATH STATUS", one line a request

A token is asked for with PUT and the seconds that it is good for, 1 to 21600;
who comes through a proxy (X-Forwarded-For) gets none.  Nothing is told without
a token, nor with one that is over or was made up.
"""
import http.server
import os
import secrets
import sys
import threading
import time

TTL = "X-aws-ec2-metadata-token-ttl-seconds"
ROLES = "/latest/meta-data/iam/security-credentials/"
directory = sys.argv[1]
tokens = {}
lock = threading.Lock()


def read(name):
    try:
        with open(os.path.join(directory, name), encoding="utf-8") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def note(self, status):
        with lock, open(os.path.join(directory, "log"), "a",
                        encoding="utf-8") as file:
            file.write(f"{self.command} {self.path} {status}\n")

    def answer(self, status, text="", headers=()):
        self.note(status)
        body = text.encode()
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def silence(self):
        self.note(0)
        self.connection.settimeout(60)
        try:
            self.rfile.read(1)  # until the client goes
        except OSError:
            pass
        self.close_connection = True

    def goes_wrong(self):
        how = read("how")
        if how == "hang" or (how == "hop" and self.command == "PUT"):
            self.silence()
        elif how == "off":
            self.answer(403)
        elif how == "throttle":
            self.answer(503)
        else:
            return False
        return True

    def do_PUT(self):
        ttl = self.headers.get(TTL, "")
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.goes_wrong():
            return
        if self.path != "/latest/api/token":
            self.answer(404)
        elif self.headers.get("X-Forwarded-For") is not None:
            self.answer(403)
        elif not ttl.isdigit() or not 1 <= int(ttl) <= 21600:
            self.answer(400)
        else:
            token = secrets.token_urlsafe(40) + "=="
            with lock:
                tokens[token] = time.monotonic() + int(ttl)
            self.answer(200, token, [(TTL, ttl)])

    def do_GET(self):
        token = self.headers.get("X-aws-ec2-metadata-token", "")
        role = read("role")
        if self.goes_wrong():
            return
        with lock:
            good = tokens.get(token, 0) > time.monotonic()
        if not good:
            self.answer(401)
        elif not role or self.path not in (ROLES, ROLES + role):
            self.answer(404)
        elif self.path == ROLES:
            self.answer(200, role)
        else:
            self.answer(200, read("keys"))


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


Server((sys.argv[2], int(sys.argv[3])), Service).serve_forever()
