"""A server under test: started, asked through plain sockets, and stopped."""
import http.client
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

BUILD, SOURCE = os.environ["ESSAIM_BUILD"], os.environ["ESSAIM_SOURCE"]
TINY = os.path.join(SOURCE, "models", "tiny-r1")
REAL = os.path.join(BUILD, "essaim-coordinator")
SCRIPTED = os.path.join(BUILD, "tests", "coordinator_double")  # the API's calls are those of api_double.c
HOST = "127.0.0.1"


def expect(truth, *said):
    if not truth:
        raise AssertionError(" ".join(str(s) for s in said))


def wait_until(what, seconds=10.0):
    """What the function gives once that is true; the seconds are for slow machines."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = what()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("did not happen in time")


class Server:
    def __init__(self, *options, program=SCRIPTED, listen=HOST + ":0", model=TINY, wait=True):
        self.log = tempfile.TemporaryFile()
        ready, child = os.pipe()
        self.process = subprocess.Popen([program, "--model", model, "--listen", listen, "--ready-fd", str(child), *options],
                                        stdin=subprocess.DEVNULL, stderr=self.log, pass_fds=[child])
        os.close(child)
        self.ready = os.fdopen(ready)
        self.port = 0 if listen.endswith(":0") else int(listen.rsplit(":", 1)[1])
        if wait:
            self.wait_ready()

    def wait_ready(self):
        expect(select.select([self.ready], [], [], 60)[0], "not ready in time")
        line = self.ready.readline()
        if not line.startswith("ready url="):
            self.process.wait(10)
            raise AssertionError(f"not ready: {line!r}, {self.said()}")
        self.url = line.split("url=")[1].split()[0]
        self.port = int(self.url.rsplit(":", 1)[1])

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def ask(self, method, path, body=None, headers=None, timeout=30):
        """One request on a connection of its own: status, headers, body."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=timeout)
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def json(self, method, path, body=None, headers=None, timeout=30):
        status, _, text = self.ask(method, path, body, headers, timeout)
        return status, json.loads(text)

    def metrics(self):
        """Every line of /metrics as {name with labels: value}."""
        return {m[1]: float(m[2]) for m in re.finditer(r"^([^#\s][^\s]*(?:\{[^}]*\})?) ([^\s]+)$",
                                                       self.ask("GET", "/metrics")[2].decode(), re.M)}

    def connect(self, timeout=30):
        return socket.create_connection((HOST, self.port), timeout=timeout)

    def raw(self, data, timeout=30, half_close=False):
        """What comes back for these bytes until the server closes; None when it broke the connection off."""
        with self.connect(timeout) as link:
            try:
                link.sendall(data)
                if half_close:
                    link.shutdown(socket.SHUT_WR)
                return read_all(link)
            except TimeoutError:
                raise
            except OSError:
                return None

    def memory_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read())[1])

    def cpu_seconds(self):
        """What its threads have computed so far: other work on the machine does not change it."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            user, system = file.read().rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self, number=signal.SIGTERM, code=0, seconds=30):
        self.process.send_signal(number)
        expect(self.process.wait(seconds) == code, "exit code", self.process.returncode, self.said())
        return self.said()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if kind is not None:
            print(self.said()[-4000:], file=sys.stderr)
        self.ready.close()
        self.log.close()


def read_all(link):
    pieces = []
    while True:
        piece = link.recv(65536)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer else None


def run_checks(checks):
    """Runs those named on the command line, or all; tells each that holds."""
    for check in checks:
        if len(sys.argv) > 1 and check.__name__ not in sys.argv[1:]:
            continue
        start = time.monotonic()
        check()
        print(f"{check.__doc__} ({time.monotonic() - start:.1f} s)", flush=True)
