"""Whatever comes over the wire gets a clear 4xx or a closed connection, and disturbs nobody else."""
import socket
import threading
import time

from serving import Server, expect, read_all, run_checks, status_of, wait_until

MIB = 1 << 20
HEAD = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


class Witness:
    """Somebody with manners who reads a stream meanwhile: every event must come, and in time."""

    def __init__(self, server, gap_s=1.0):
        self.server, self.gap_s, self.longest, self.events = server, gap_s, 0.0, 0
        self.link = server.connect()
        self.link.sendall(b"GET /events/100000/20 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.over = False
        self.thread = threading.Thread(target=self.read)
        self.thread.start()

    def read(self):
        last = time.monotonic()
        while not self.over:
            piece = self.link.recv(65536)
            if not piece:
                return
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last), now
            self.events += piece.count(b"data:")

    def __enter__(self):
        wait_until(lambda: self.events > 3)
        return self

    def __exit__(self, kind, value, trace):
        seen = self.events
        if kind is None:
            wait_until(lambda: self.events > seen + 3)
        self.over = True
        self.thread.join()
        self.link.close()
        expect(kind is not None or self.longest < self.gap_s, "the witness waited", self.longest)


def check_huge():
    """bodies that are too large are refused, said beforehand or not, and hold no memory"""
    with Server("--body-limit", "1", "--body-memory", "3") as s, Witness(s):
        before = s.memory_kib()
        announced = s.raw(HEAD + b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n")
        expect(status_of(announced) == 413 and b"body_too_large" in announced, announced)
        for length in (b"9" * 30, b"-1", b"1e9", b"0x10", b"5 5"):
            answer = s.raw(HEAD + b"Content-Length: " + length + b"\r\n\r\n", timeout=10)
            expect(answer is None or status_of(answer) in (400, 413, None), length, answer)
        expect(s.ask("POST", "/echo", b"x" * (3 * MIB))[0] == 413, "3 MiB")
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        expect(status_of(s.raw(chunked + piece * 32 + b"0\r\n\r\n")) == 413, "2 MiB in chunks")
        expect(s.raw(chunked + piece * 200) in (None, b""), "an endless body is cut")
        answer = s.raw(HEAD + b"Content-Length: 99999999\r\n\r\n" + b"x" * 20 * MIB, timeout=20)
        expect(answer is None or status_of(answer) in (None, 413), "a huge body that is sent anyway", answer)
        expect(s.ask("POST", "/echo", b"x" * MIB)[0] == 200, "what is allowed")
        # More bodies than memory is for: the last ones are told to come again, and nobody's memory is kept.
        links = [s.connect() for _ in range(8)]
        for link in links:
            link.sendall(HEAD + b"Content-Length: 1048576\r\n\r\n" + b"y" * 1000000)
        wait_until(lambda: s.metrics()["essaim_http_body_bytes"] > MIB)
        expect(s.metrics()["essaim_http_body_bytes"] <= 3 * MIB, s.metrics()["essaim_http_body_bytes"])
        statuses = []
        for link in links:
            link.sendall(b"y" * 48576)
            statuses.append(status_of(read_all(link)))
            link.close()
        expect(set(statuses) == {200, 503}, statuses)
        wait_until(lambda: s.metrics()["essaim_http_body_bytes"] == 0)
        expect(s.memory_kib() < before + 40 * 1024, before, s.memory_kib())


def check_junk():
    """requests that are none are refused or cut off"""
    junk = [b"\r\n" * 10 + b"x\r\n\r\n", b"\0" * 100, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50, b"GET\r\n\r\n",
            b"GET /x HTTP/9.9\r\n\r\n", b"GET /x HTTP/1.1\r\n\r\n", b"GET  /x  \r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"G" * 100000 + b" /x HTTP/1.1\r\n\r\n", b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: localhost\r\n" + b"a: b\r\n" * 20000 + b"\r\n",
            b"GET /x HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 20000 + b"\r\nConnection: close\r\n\r\n",
            b"GET /x HTTP/1.1\r\nHost: localhost\r\nno colon\r\n\r\n",
            HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n"]
    with Server() as s, Witness(s):
        for data in junk:
            answer = s.raw(data, timeout=10, half_close=True)
            code = status_of(answer)
            expect(code is None or 400 <= code < 600, data[:60], answer)
        answer = s.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 17000 + b"\r\nConnection: close\r\n\r\n")
        expect(status_of(answer) == 431 and b"headers_too_large" in answer, answer)
        expect(s.metrics()['essaim_http_requests_total{path="other",code="400"}'] > 0, "counted")


def check_cut():
    """bodies that end too early, or whose sender leaves, are let go of"""
    with Server() as s, Witness(s):
        for _ in range(20):
            with s.connect() as link:
                link.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + b"x" * 5000)
        expect(s.raw(HEAD + b"Content-Length: 100\r\n\r\nshort", half_close=True) in (None, b""), "a body cut by half")
        expect(s.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n10\r\nabc", half_close=True) in (None, b""), "a chunk cut by half")
        wait_until(lambda: s.metrics()["essaim_http_body_bytes"] == 0 and s.metrics()["essaim_http_requests_in_flight"] == 2)


def check_slow():
    """a byte a second, in the head or in the body, is cut off; a slow body that keeps moving is not"""
    with Server("--request-timeout", "3") as s, Witness(s, 2.0):
        took = []

        def drip(first, rest):
            """How long the server bears a byte each half second."""
            start = time.monotonic()
            with s.connect() as link:
                link.settimeout(0.5)
                try:
                    link.sendall(first)
                    while time.monotonic() - start < 60:
                        link.sendall(rest)
                        try:
                            if link.recv(1000) == b"":
                                break
                        except TimeoutError:
                            continue
                except ConnectionError:
                    pass
            took.append(time.monotonic() - start)

        def silent():
            start = time.monotonic()
            with s.connect(60) as link:
                read_all(link)
            took.append(time.monotonic() - start)

        def patient():
            """5 s for 300 KiB: slower than the limit for small bodies, quick enough for its size."""
            with s.connect() as link:
                link.sendall(HEAD + b"Content-Length: 307200\r\n\r\n")
                for _ in range(20):
                    link.sendall(b"p" * 15360)
                    time.sleep(0.25)
                answer = read_all(link)
                expect(status_of(answer) == 200 and answer.count(b"p") >= 307200, answer[:200])
                took.append(3.0)

        threads = [threading.Thread(target=drip, args=(b"GET /x HTTP/1.1\r\nHost: localhost\r\nX: ", b"y")),
                   threading.Thread(target=drip, args=(HEAD + b"Content-Length: 900\r\n\r\n", b"z")),
                   threading.Thread(target=silent), threading.Thread(target=patient)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expect(len(took) == 4 and all(t is not None and 2.5 < t < 8 for t in took), took)
        expect(s.metrics()["essaim_http_connections_cut_total"] == 3, s.metrics()["essaim_http_connections_cut_total"])


def check_crowd():
    """connections are limited in all and by address, idle ones hold nobody up, and all is given back"""
    with Server("--connections", "64") as s:
        before = s.descriptors()
        idle = [s.connect() for _ in range(40)]
        with Witness(s):
            expect(s.ask("GET", "/echo")[0] == 200, "beside idle ones")
        for link in idle:
            link.close()
        wait_until(lambda: s.descriptors() <= before + 2)
    with Server("--connections-per-address", "5") as s:
        links = []
        answered = 0
        for _ in range(12):
            link = s.connect(5)
            links.append(link)
            try:
                link.sendall(b"GET /echo HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answered += b"200 OK" in link.recv(4096)
            except (ConnectionError, TimeoutError):
                pass
        expect(answered == 5, "answered", answered)
        for link in links:
            link.close()
        wait_until(lambda: not isinstance(answer(s), Exception))


def answer(s):
    try:
        return s.ask("GET", "/echo", timeout=5)
    except (ConnectionError, TimeoutError) as problem:
        return problem


def check_stalled_reader():
    """a client that does not read its stream holds up nobody else"""
    with Server() as s, Witness(s):
        with s.connect() as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            link.sendall(b"GET /bytes/50000000 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(1)
            expect(s.ask("POST", "/echo", "x")[0] == 200, "meanwhile")
        wait_until(lambda: s.metrics()["essaim_http_calls_in_flight"] == 1)


if __name__ == "__main__":
    run_checks([check_huge, check_junk, check_cut, check_slow, check_crowd, check_stalled_reader])
