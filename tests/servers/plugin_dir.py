#!/usr/bin/python3
"""A plugin whose machines are directories, for tests.

	ROOT/ID/disk.img     the disk "root"
	ROOT/ID/data/        the tree "data"
	ROOT/ID/up           there while it is up
	ROOT/.snap/ID/TOKEN  a snapshot
	ROOT/.new/TOKEN      machines that are being restored

What it does is appended to ROOT/.effects.  The option "fault", "VERB:HOW",
makes one verb go wrong; with "once" in the options only while ROOT/.fault is
there, which the fault removes.
"""
import io
import json
import os
import shutil
import signal
import sys
import tarfile
import time

VERBS = ["probe", "discover", "power_get", "stop", "start", "create_snapshot",
         "find_by_token", "list_snapshots", "remove_snapshot", "read_blocks",
         "read_stream", "restore_check", "restore_list", "restore_begin",
         "write_blocks", "write_stream", "restore_finish"]
BLOCK = 4096


class Refusal(Exception):
    def __init__(self, answer, text):
        super().__init__(text)
        self.answer, self.text = answer, text


def say(**line):
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


class Plugin:
    def __init__(self, options):
        self.root = options.get("root", ".")
        self.options = options

    # ------------------------------------------------------------ helpers

    def note(self, text):
        with open(os.path.join(self.root, ".effects"), "a") as log:
            log.write(text + "\n")

    def machine(self, request):
        path = os.path.join(self.root, request["machine"])
        if not os.path.isdir(path):
            raise Refusal("NOT_FOUND", "no machine " + request["machine"])
        return path

    def snap(self, machine, token):
        return os.path.join(self.root, ".snap", machine, token)

    def place(self, request):
        """Where a volume of a request is read."""
        if request["volume"] not in ("root", "data", "definition"):
            raise Refusal("NOT_FOUND", "no volume " + request["volume"])
        if "token" in request:
            path = self.snap(request["machine"], request["token"])
            if not os.path.isdir(path):
                raise Refusal("NOT_FOUND", "no snapshot")
            return path
        return self.machine(request)

    def goal(self, request):
        """The directory that a restore writes."""
        new = request["mode"] == "as-new"
        name = request["new_id"] if new else request["machine"]
        final = os.path.join(self.root, name)
        if os.path.isdir(final) and not new:
            return final, final
        return final, os.path.join(
            self.root, ".new", request.get("token", "check"), name)

    # -------------------------------------------------------------- verbs

    def probe(self, request):
        if not os.path.isdir(self.root):
            raise Refusal("UNREACHABLE", "no directory " + self.root)

    def describe(self, name):
        path = os.path.join(self.root, name)
        disk = os.stat(os.path.join(path, "disk.img"))
        return {
            "id": name, "role": "web", "labels": {"env": "test"},
            "power": self.power(path), "lifecycle": "stop-snapshot-start",
            "description": {"disk": disk.st_size},
            "stop_timeout_ms": 600000, "start_timeout_ms": 600000,
            "volumes": [
                {"name": "root", "kind": "disk", "size": disk.st_size,
                 "allocated": disk.st_blocks * 512},
                {"name": "data", "kind": "tree"},
                {"name": "definition", "kind": "definition"},
                {"name": "cd", "kind": "cdrom"}]}

    def discover(self, request):
        for name in sorted(os.listdir(self.root)):
            if name[0] != ".":
                say(id=2, item=self.describe(name))

    def power(self, path):
        return "up" if os.path.exists(os.path.join(path, "up")) else "down"

    def power_get(self, request):
        return {"power": self.power(self.machine(request))}

    def stop(self, request):
        path = os.path.join(self.machine(request), "up")
        if os.path.exists(path):
            self.note("stop " + request["machine"])
            os.unlink(path)

    def start(self, request):
        path = os.path.join(self.machine(request), "up")
        if not os.path.exists(path):
            self.note("start " + request["machine"])
            open(path, "w").close()

    def create_snapshot(self, request):
        source = self.machine(request)
        if not (request["for_backup"] is request["for_export"] is True):
            raise ValueError("what is it for?")
        path = self.snap(request["machine"], request["token"])
        # It was cut off, with the option "unclean".
        told = {"unclean": True} if "unclean" in self.options else None
        if os.path.isdir(path):
            return told
        self.note("create_snapshot " + request["machine"])
        shutil.rmtree(path + "+", ignore_errors=True)
        os.makedirs(path + "+")
        shutil.copyfile(source + "/disk.img", path + "+/disk.img")
        shutil.copytree(source + "/data", path + "+/data", symlinks=True)
        os.rename(path + "+", path)
        return told

    def find_by_token(self, request):
        self.machine(request)
        path = self.snap(request["machine"], request["token"])
        return {"snapshot": "whole" if os.path.isdir(path) else
                "part" if os.path.isdir(path + "+") else "none"}

    def list_snapshots(self, request):
        top = os.path.join(self.root, ".snap")
        for name in sorted(os.listdir(top)) if os.path.isdir(top) else []:
            for token in sorted(os.listdir(os.path.join(top, name))):
                say(id=2, item={"machine": name, "token": token.strip("+")})

    def remove_snapshot(self, request):
        path = self.snap(request["machine"], request["token"])
        if os.path.isdir(path):
            self.note("remove_snapshot " + request["machine"])
        for old in (path, path + "+"):
            shutil.rmtree(old, ignore_errors=True)

    # ---------------------------------------------------------- reading

    def read_blocks(self, request):
        with open(os.path.join(self.place(request), "disk.img"), "rb") as f:
            serve_disk(f, "used")

    def read_stream(self, request):
        with os.fdopen(4, "wb") as pipe:
            out = Skip(pipe, request.get("offset", 0), self.options)
            if request["volume"] == "definition":
                self.pack_definition(request, out)
            else:
                pack(os.path.join(self.place(request), "data"), out)
            pipe.flush()
        return {"bytes": out.count}

    def pack_definition(self, request, out):
        with tarfile.open(fileobj=out, mode="w|",
                          format=tarfile.PAX_FORMAT) as tar:
            info = tarfile.TarInfo("machine.json")
            text = json.dumps({"id": request["machine"]}).encode()
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text))

    # ---------------------------------------------------------- restores

    def restore_check(self, request):
        final, path = self.goal(request)
        if request["mode"] == "as-new" and os.path.isdir(final):
            raise Refusal("CONFLICT", final + " exists already")
        free = os.statvfs(self.root)
        return {"space_bytes": free.f_bavail * free.f_frsize, "volumes": [
            {"name": v["name"], "location": final + "/" + v["name"],
             "exists": os.path.isdir(final), "need_bytes": v["size"]}
            for v in request["volumes"]]}

    def restore_list(self, request):
        final, path = self.goal(request)
        with os.fdopen(4, "wb") as out:
            top = os.path.join(final, "data")
            for folder, dirs, files in os.walk(top):
                for name in dirs + files:
                    full = os.path.join(folder, name)
                    out.write(os.path.relpath(full, top).encode() + b"\0")

    def restore_begin(self, request):
        final, path = self.goal(request)
        if os.path.isdir(final) and final != path:
            if os.path.exists(final + "/.token-" + request["token"]):
                return
            raise Refusal("CONFLICT", final + " exists already")
        self.note("restore_begin " + request["machine"])
        os.makedirs(path + "/data", exist_ok=True)

    def write_blocks(self, request):
        final, path = self.goal(request)
        path += "/disk.img"
        fresh = not os.path.exists(path)
        with open(path, "w+b" if fresh else "r+b") as f:
            f.truncate(request["size"])
            serve_disk(f, "fresh" if fresh else "used")

    def write_stream(self, request):
        final, path = self.goal(request)
        with os.fdopen(3, "rb") as pipe:
            if request["kind"] != "tree":
                while pipe.read(65536):
                    pass
                return
            if not request["partial"]:
                for name in os.listdir(path + "/data"):
                    old = os.path.join(path, "data", name)
                    if os.path.isdir(old) and not os.path.islink(old):
                        shutil.rmtree(old)
                    else:
                        os.unlink(old)
            with tarfile.open(fileobj=pipe, mode="r|") as tar:
                tar.extractall(path + "/data")
            while pipe.read(65536):
                pass

    def restore_finish(self, request):
        final, path = self.goal(request)
        if final == path or not os.path.isdir(path):
            return
        self.note("restore_finish " + request["machine"])
        open(path + "/.token-" + request["token"], "w").close()
        os.rename(path, final)
        shutil.rmtree(os.path.dirname(path), ignore_errors=True)


class Skip:
    """What goes through, but for its first bytes."""

    def __init__(self, pipe, offset, options):
        self.pipe, self.offset, self.count = pipe, offset, 0
        self.cut = int(options.get("cut_stream", 0))

    def write(self, data):
        start = max(0, min(len(data), self.offset - self.count))
        self.count += len(data)
        self.pipe.write(data[start:])
        if self.cut and not self.offset and self.count >= self.cut:
            self.pipe.flush()
            os._exit(9)
        return len(data)


def whole_second(info):
    info.mtime = int(info.mtime)
    return info


def pack(top, out):
    with tarfile.open(fileobj=out, mode="w|",
                      format=tarfile.PAX_FORMAT) as tar:
        tar.add(top, arcname=".", recursive=False,
                filter=whole_second)
        for folder, dirs, files in os.walk(top):
            dirs.sort()
            for name in sorted(dirs + files):
                full = os.path.join(folder, name)
                tar.add(full, arcname="./" + os.path.relpath(full, top),
                        recursive=False, filter=whole_second)


def find_extent(f, at, size):
    try:
        start = os.lseek(f.fileno(), at, os.SEEK_DATA)
    except OSError:
        return size, size
    return start, os.lseek(f.fileno(), start, os.SEEK_HOLE)


def serve_disk(f, state):
    size = os.fstat(f.fileno()).st_size
    with os.fdopen(3, "rb") as orders, os.fdopen(4, "wb") as out:
        for order in orders:
            word, *rest = order.decode().split()
            at = int(rest[0]) if rest and word != "changed" else 0
            if word == "info":
                out.write(b"ok %d %s\n" % (size, state.encode()))
            elif word == "read":
                f.seek(at)
                out.write(b"ok\n" + f.read(int(rest[1])))
            elif word == "extent":
                out.write(b"ok %d %d\n" % find_extent(f, at, size))
            elif word == "write":
                f.seek(at)
                f.write(orders.read(int(rest[1])))
            elif word == "zero":
                f.seek(at)
                f.write(bytes(int(rest[1])))
            elif word == "sync":
                f.flush()
                os.fsync(f.fileno())
                out.write(b"ok\n")
            else:
                out.write(b"no there is no " + word.encode() + b"\n")
            out.flush()


def misbehave(plugin, request):
    """A fault before (or instead of) a verb; True: no answer is due."""
    verb, _, how = plugin.options.get("fault", ":").partition(":")
    flag = os.path.join(plugin.root, ".fault")
    if request["verb"] != verb:
        return False
    if "once" in plugin.options:
        if not os.path.exists(flag):
            return False
        os.unlink(flag)
    if how == "wait":
        open(os.path.join(plugin.root, ".waits"), "w").close()
        time.sleep(600)
    if how == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    if how == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "done-then-die":
        getattr(plugin, verb)(request)
        os.kill(os.getpid(), signal.SIGKILL)
    if how in ("pending", "retry"):
        say(id=2, answer="PENDING" if how == "pending" else "RETRY_AFTER",
            retry_ms=20)
        return True
    if how.isupper():
        raise Refusal(how, "as the test wants it")
    return False


def answer(plugin, request):
    try:
        if misbehave(plugin, request):
            return
        verb = request["verb"]
        if verb not in VERBS:
            raise Refusal("UNSUPPORTED", "no verb " + verb)
        result = getattr(plugin, verb)(request)
        say(id=request["id"], answer="DONE",
            **({"result": result} if result else {}))
    except Refusal as refusal:
        say(id=request["id"], answer=refusal.answer, text=refusal.text)
    except OSError as error:
        say(id=request["id"], answer="FAILED", text=str(error))


def main():
    plugin = None
    for line in sys.stdin:
        request = json.loads(line)
        if request["verb"] != "hello":
            answer(plugin, request)
            continue
        if 1 not in request["protocols"]:
            say(id=request["id"], answer="UNSUPPORTED",
                text="this plugin speaks protocol 1")
            return
        plugin = Plugin(request["options"])
        say(id=request["id"], answer="DONE",
            result={"protocol": 1, "name": "dir", "version": "1",
                    "verbs": VERBS, "resume": True})


main()
