#!/usr/bin/python3
"""Between a client and LXD, over Unix sockets, for tests.

	lxd_relay.py LISTEN SERVER LOG FAULTS

Each request is a line of LOG: METHOD PATH [RANGE] -> STATUS [BYTES]; BYTES,
of an archive, are those that were passed on.  Each line of the file FAULTS is
a fault that happens once: WHAT METHOD PART, for a request whose path holds
PART:

	cut-N     the answer's body ends after N bytes, and the connection
	hang      nothing is passed on, in either direction
	hang-N    of the answer's body N bytes are passed on, and no more
	kill      the server gets the request, and then the client is killed
"""
import os
import socket
import struct
import sys
import threading
import signal
import time

LISTEN, SERVER, LOG, FAULTS = sys.argv[1:5]
LOCK = threading.Lock()


def note(text):
    with LOCK, open(LOG, "a") as log:
        log.write(text + "\n")


def take_fault(method, path):
    with LOCK:
        try:
            with open(FAULTS) as file:
                lines = file.read().splitlines()
        except FileNotFoundError:
            return "-"
        for line in lines:
            what, wanted, part = line.split()
            if wanted == method and part in path:
                lines.remove(line)
                with open(FAULTS + "+", "w") as file:
                    file.write("".join(rest + "\n" for rest in lines))
                os.rename(FAULTS + "+", FAULTS)
                return what
    return "-"


def read_head(sock):
    head = b""
    while b"\r\n\r\n" not in head:
        piece = sock.recv(65536)
        if not piece:
            return None, b""
        head += piece
    head, _, rest = head.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", rest


def header(head, name):
    for line in head.decode("latin-1").split("\r\n"):
        key, _, value = line.partition(": ")
        if key.lower() == name:
            return value
    return None


def pass_on(source, target):
    """Bytes, until one of the two has no more."""
    try:
        while True:
            piece = source.recv(65536)
            if not piece:
                break
            target.sendall(piece)
    except OSError:
        pass


def client_of(sock):
    creds = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return struct.unpack("3i", creds)[0]


def answer(client, server, fault, what):
    head, rest = read_head(server)
    if head is None:
        return note(what + " -> nothing")
    status = head.split()[1].decode()
    length = header(head, "content-length")
    limit = int(fault.partition("-")[2] or 0) if "-" in fault[1:] else None
    left = int(length) if length is not None else None
    passed = 0
    client.sendall(head)
    while True:
        piece = rest if rest else server.recv(65536) if left != 0 else b""
        rest = b""
        if limit is not None:
            piece = piece[:limit - passed]
        if not piece:
            break
        client.sendall(piece)
        passed += len(piece)
        left = None if left is None else left - len(piece)
    note("%s -> %s %d" % (what, status, passed))
    if fault.startswith("hang"):
        time.sleep(600)


def serve(client):
    with client, socket.socket(socket.AF_UNIX) as server:
        head, rest = read_head(client)
        if head is None:
            return
        method, path, _ = head.decode("latin-1").split("\r\n")[0].split(" ")
        fault = take_fault(method, path)
        area = header(head, "range")
        what = method + " " + path + (" " + area if area else "")
        if fault == "hang":
            note(what + " -> hangs")
            time.sleep(600)
        server.connect(SERVER)
        # One request of a connection, so that its end is the answer's.
        server.sendall(head[:-2] + b"Connection: close\r\n\r\n" + rest)
        threading.Thread(target=pass_on, args=(client, server),
                         daemon=True).start()
        if fault == "kill":
            read_head(server)
            os.kill(client_of(client), signal.SIGKILL)
            return note(what + " -> its client is killed")
        try:
            answer(client, server, fault, what)
            client.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            note("%s -> %s" % (what, error))


def main():
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(LISTEN)
    sock.listen(64)
    while True:
        client, _ = sock.accept()
        threading.Thread(target=serve, args=(client,), daemon=True).start()


main()
