"""Paths, methods, headers, keys, HTTPS: what the transport itself promises, with scripted calls behind it."""
import json
import os
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time

from serving import HOST, SCRIPTED, SOURCE, TINY, Server, expect, read_all, run_checks, status_of, wait_until


def check_paths():
    """every path is there with and without /v1, by its methods, and what is not there is JSON"""
    with Server() as s:
        for prefix in ("", "/v1"):
            expect(s.ask("POST", prefix + "/echo", "hello")[2] == b"hello", prefix)
            expect(s.json("GET", prefix + "/health") == (200, {"status": "ok"}), prefix)
            expect(s.ask("GET", prefix + "/later/20")[2] == b'{"ok":true}', prefix)
            status, headers, _ = s.ask("POST", prefix + "/health", "x")
            expect(status == 405 and headers["allow"] == "GET, HEAD, OPTIONS", status, headers)
        status, headers, body = s.ask("HEAD", "/health")
        expect(status == 200 and body == b"" and headers["content-length"] == "15", headers)
        status, headers, body = s.ask("HEAD", "/bytes/1000")
        expect(status == 200 and body == b"" and headers["content-length"] == "1000", headers)
        status, headers, _ = s.ask("OPTIONS", "/v1/chat/completions")
        expect(status == 204 and "POST" in headers["allow"], headers)
        status, answer = s.json("GET", "/v1/nothing/here")
        expect(status == 404 and answer["error"]["code"] == "not_found", answer)
        for target in ("/%00", "/a%0ab", "/%", "*", "ftp://x/", "/" + "x" * 2000):
            answer = s.raw(f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
            expect(status_of(answer) == 400 and b'"invalid_path"' in answer, target, answer)
        answer = s.raw(b"GET http://localhost/v1/health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        expect(status_of(answer) == 200, answer)
        for size in (0, 1, 65536, 1000000):
            expect(len(s.ask("GET", f"/bytes/{size}")[2]) == size, size)
            expect(s.ask("POST", "/echo", b"y" * size)[2] == b"y" * size, size)
        s.stop()


def check_keep_alive():
    """requests follow each other on one connection, in pieces and at once"""
    with Server() as s, s.connect() as link:
        one = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello"
        last = one.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        link.sendall(one)
        seen = b""
        while b"hello" not in seen:
            seen += link.recv(4096)
        link.sendall(one + one + last)
        rest = read_all(link)
        expect(rest.count(b"HTTP/1.1 200 OK") == 3 and rest.count(b"hello") == 3, rest)
        chunked = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
        expect(s.raw(chunked).endswith(b"abcde"), "chunked")


def check_request_ids():
    """a request keeps its id, and every answer has one"""
    with Server() as s:
        own = s.ask("GET", "/echo", headers={"x-request-id": "client-7:a.b_c"})[1]["x-request-id"]
        expect(own == "client-7:a.b_c", own)
        ids = {s.ask("GET", "/echo", headers={"x-request-id": bad})[1]["x-request-id"] for bad in ("a b", "x" * 65, "\x7f", "")}
        expect(len(ids) == 4 and all(i.startswith("req-") for i in ids), ids)
        said = s.stop()
        expect("request=client-7:a.b_c key=- address=127.0.0.1 method=GET path=/echo status=200" in said, said)


def check_cors():
    """pages of this machine may ask, those elsewhere only when they are named, and a borrowed name is refused"""
    preflight = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "authorization, x-stainless-os"}
    with Server() as s:
        status, headers, _ = s.ask("OPTIONS", "/v1/chat/completions", headers=preflight)
        expect(status == 204 and headers["access-control-allow-origin"] == "http://localhost:3000", headers)
        expect(headers["access-control-allow-headers"] == "authorization, x-stainless-os" and headers["vary"] == "Origin", headers)
        status, headers, _ = s.ask("POST", "/echo", "x", {"Origin": "http://localhost:3000"})
        expect(status == 200 and headers["access-control-allow-origin"] == "http://localhost:3000", headers)
        for origin in ("https://evil.example", "null"):
            for method in ("OPTIONS", "POST"):
                status, headers, body = s.ask(method, "/echo", "x" if method == "POST" else None, {"Origin": origin})
                expect(status == 403 and "access-control-allow-origin" not in headers, status, headers)
        expect(s.ask("GET", "/health", headers={"Origin": f"http://{HOST}:{s.port}"})[0] == 200, "own pages")
        expect(s.ask("GET", "/health", headers={"Host": "rebound.example"})[0] == 403, "a borrowed name")
    with Server("--cors", "https://chat.example") as s:
        status, headers, _ = s.ask("POST", "/echo", "x", {"Origin": "https://chat.example"})
        expect(status == 200 and headers["access-control-allow-origin"] == "https://chat.example", headers)
        expect(s.ask("POST", "/echo", "x", {"Origin": "http://localhost:3000"})[0] == 403, "not named")
    with Server("--cors", "*", "--allow-anonymous") as s:
        expect(s.ask("POST", "/echo", "x", {"Origin": "https://any.example", "Host": "name.example"})[0] == 200, "any")


def check_keys():
    """who shows no key, or a wrong one, is told so; keys are read again on SIGHUP and never written down"""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "keys")

        def write(text, mode=0o600):
            with open(path, "w", encoding="ascii") as file:
                file.write(text)
            os.chmod(path, mode)

        write("# clients\nalice sk-alice-000\nsk-nameless-00\n")
        with Server("--api-keys", path) as s:
            for headers in ({"Authorization": "Bearer sk-alice-000"}, {"authorization": "bearer  sk-alice-000"}, {"x-api-key": "sk-nameless-00"}):
                expect(s.ask("POST", "/echo", "x", headers)[0] == 200, headers)
            for headers in ({}, {"Authorization": "Bearer sk-alice-001"}, {"Authorization": "Basic c2s6eA=="}, {"x-api-key": ""}, {"Authorization": "Bearer"}):
                for path_asked in ("/v1/echo", "/metrics", "/cluster", "/nothing"):
                    status, answer_headers, body = s.ask("GET", path_asked, headers=headers)
                    expect(status == 401 and answer_headers["www-authenticate"] == "Bearer", path_asked, headers, status)
                    expect(json.loads(body)["error"]["code"] == "invalid_api_key", body)
            expect(s.json("GET", "/health") == (200, {"status": "ok"}), "health needs no key")
            big = s.ask("POST", "/echo", b"x" * 300000, {"x-api-key": "wrong-key"})
            expect(big[0] == 401, "a body without a key", big[0])
            write("bob sk-bob-00000\n")
            s.process.send_signal(signal.SIGHUP)
            wait_until(lambda: s.ask("GET", "/echo", headers={"x-api-key": "sk-bob-00000"})[0] == 200)
            expect(s.ask("GET", "/echo", headers={"x-api-key": "sk-alice-000"})[0] == 401, "alice's key is gone")
            write("sk-carol-0000\n", 0o644)
            s.process.send_signal(signal.SIGHUP)
            wait_until(lambda: "API keys stay as they were" in s.said())
            expect(s.ask("GET", "/echo", headers={"x-api-key": "sk-bob-00000"})[0] == 200, "bob's key stays")
            said = s.stop()
            expect("key=alice address=127.0.0.1 method=POST path=/echo status=200" in said and "key=key3 address=127.0.0.1 method=POST" in said, said)
            for secret in ("sk-alice", "sk-nameless", "sk-bob", "sk-carol", "wrong-key"):
                expect(secret not in said, "a key in the log", said)
        for text, mode, wanted in (("alice sk-alice-000\n", 0o640, "others may read it"), ("# none\n", 0o600, "holds no key")):
            write(text, mode)
            refused([SCRIPTED, "--model", TINY, "--listen", HOST + ":0", "--api-keys", path], wanted)


def refused(command, wanted):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = done.stderr.splitlines()
    expect(done.returncode in (1, 2) and len(lines) == 1 and wanted in lines[0], command, done.returncode, done.stderr)


def check_binding():
    """the network is served only with keys or on request, and a port that is taken is told"""
    base = [SCRIPTED, "--model", TINY]
    refused([*base, "--listen", "0.0.0.0:0"], "--allow-anonymous")
    refused([*base, "--listen", "nowhere"], "nowhere")
    refused([*base, "--listen", HOST + ":0", "--tls-cert", "x"], "--tls-cert and --tls-key")
    refused([*base, "--listen", HOST + ":0", "--tls-cert", "/nonexistent", "--tls-key", "/nonexistent"], "/nonexistent")
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        refused([*base, "--listen", f"{HOST}:{port}"], f"port {port} of {HOST} is taken")
        refused([os.path.join(os.environ["ESSAIM_BUILD"], "essaim"), "up", "--model", TINY, "--port", str(port)], f"port {port} is taken")
    with Server("--allow-anonymous", listen="0.0.0.0:0") as s:
        expect(s.ask("GET", "/health", headers={"Host": "any.name"})[0] == 200 and s.url.startswith(f"http://{HOST}:"), s.url)


def check_https():
    """HTTPS serves answers and streams, notices who leaves, and says what is wrong with a certificate"""
    with tempfile.TemporaryDirectory() as folder:
        cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                        "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
                       check=True, capture_output=True)
        context = ssl.create_default_context(cafile=cert)
        with Server("--tls-cert", cert, "--tls-key", key) as s:
            expect(s.url.startswith("https://"), s.url)

            def get(path, read=read_all):
                with s.connect() as plain, context.wrap_socket(plain, server_hostname="localhost") as link:
                    link.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
                    return read(link)

            expect(get("/health").endswith(b'{"status":"ok"}'), "health")
            expect(get("/bytes/1000000").count(b"x") >= 1000000, "a large body")
            events = get("/events/20/20")
            expect(events.count(b'data: {"event"') == 20 and b"[DONE]" in events, events)
            get("/events/100000/20", lambda link: link.recv(4096))
            wait_until(lambda: b"essaim_http_calls_in_flight 0\n" in get("/metrics"), 2)
            plain_text = s.raw(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", timeout=10)
            expect(plain_text is None or b"HTTP" not in plain_text, "plain text was answered", plain_text)
            expect(get("/health").endswith(b'{"status":"ok"}'), "after plain text on the port")
            s.stop()
        with open(key, "w", encoding="ascii") as file:
            file.write("no key\n")
        refused([SCRIPTED, "--model", TINY, "--listen", HOST + ":0", "--tls-cert", cert, "--tls-key", key], "HTTPS: ")


def check_metrics():
    """/metrics is clean for promtool, counts what was asked, and tells about the nodes' calls"""
    with Server() as s:
        s.ask("POST", "/echo", "x")
        s.ask("GET", "/nothing")
        s.ask("GET", "/v1/models/some-model")
        # A request is counted when its connection is through with it, a moment after its answer came.
        wait_until(lambda: s.metrics().get('essaim_http_requests_total{path="/models",code="404"}') == 1)
        text = s.ask("GET", "/metrics")[2].decode()
        seen = s.metrics()
        expect(seen['essaim_http_requests_total{path="other",code="200"}'] == 1, text)
        expect(seen['essaim_http_requests_total{path="other",code="404"}'] == 1, text)
        expect(seen['essaim_http_requests_total{path="/models",code="404"}'] == 1, text)
        expect(seen["essaim_ready"] == 1 and seen["essaim_kv_pages"] > 0 and seen["process_open_fds"] > 5, text)
        # This request itself; the one before it may not be counted off yet.
        expect(seen["process_resident_memory_bytes"] > 1e6 and 1 <= seen["essaim_http_requests_in_flight"] <= 2, text)
        checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
        expect(checked.returncode == 0 and checked.stderr == "", checked.stdout, checked.stderr)
        s.stop()


def check_cluster():
    """/cluster has the shape that the page reads"""
    with Server() as s:
        status, seen = s.json("GET", "/cluster")
        expect(status == 200 and set(seen) == {"model", "engine", "nodes", "heat"}, seen)
        expect(seen["model"]["name"] == "tiny-r1" and seen["model"]["layers"] == 4 and seen["model"]["experts"] == 32, seen)
        expect(set(seen["engine"]) == {"running", "waiting", "queued", "decode_tokens_per_s", "prefill_tokens_per_s", "kv_pages",
                                       "kv_pages_used", "prompt_tokens", "cache_hit_tokens", "uptime_s"}, seen)
        expect(seen["heat"]["layers"] == [1, 2, 3] and [len(row) for row in seen["heat"]["counts"]] == [32] * 3, seen)


def check_loading():
    """while the model is loaded /health tells how far it is and calls are told to come again"""
    with socket.create_server((HOST, 0)) as silent, socket.create_server((HOST, 0)) as probe:
        node, port = silent.getsockname()[1], probe.getsockname()[1]
        probe.close()
        # A node that does not say hello keeps the coordinator waiting for some seconds.
        with Server("--node", f"{HOST}:{node}", listen=f"{HOST}:{port}", wait=False) as s:
            def health():
                try:
                    return s.json("GET", "/health", timeout=5)
                except OSError:
                    return None
            status, seen = wait_until(lambda: (h := health()) and h[1].get("progress", 0) > 0 and h)
            expect(status == 503 and seen["status"] == "loading" and 0 < seen["progress"] <= 1, seen)
            status, headers, body = s.ask("POST", "/v1/chat/completions", "{}")
            expect(status == 503 and "retry-after" in headers and headers["x-should-retry"] == "true", headers)
            expect(json.loads(body)["error"]["code"] == "loading", body)
            expect(s.metrics()["essaim_ready"] == 0 and s.ask("GET", "/cluster")[0] == 503, "not ready")
            expect(s.process.wait(30) == 1 and "127.0.0.1" in s.said(), s.said())


def check_drain():
    """SIGTERM lets answers end, refuses new ones, and a second signal or the deadline ends all"""
    for number in (signal.SIGTERM, signal.SIGINT):
        with Server() as s:
            answers = []
            streams = [threading.Thread(target=lambda: answers.append(s.ask("GET", "/events/60/20")[2])) for _ in range(4)]
            for stream in streams:
                stream.start()
            wait_until(lambda: s.metrics()["essaim_http_calls_in_flight"] == 4)
            s.process.send_signal(number)
            wait_until(lambda: s.json("GET", "/health")[1] == {"status": "draining"})
            status, headers, body = s.ask("POST", "/v1/chat/completions", "{}")
            expect(status == 503 and "retry-after" in headers and headers["x-should-retry"] == "true", status, headers)
            expect(headers["connection"].lower() == "close" and json.loads(body)["error"]["code"] == "shutting_down", body)
            for stream in streams:
                stream.join()
            expect(all(a.endswith(b"data: [DONE]\n\n") and a.count(b"event") == 60 for a in answers), answers)
            expect(s.process.wait(10) == 0, s.process.returncode, s.said())
    for twice, options in ((True, ()), (False, ("--drain", "1"))):
        with Server(*options) as s, s.connect() as link:
            link.sendall(b"GET /events/1000/100 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            link.recv(4096)
            start = time.monotonic()
            s.process.send_signal(signal.SIGTERM)
            wait_until(lambda: s.json("GET", "/health")[1] == {"status": "draining"})
            if twice:
                s.process.send_signal(signal.SIGTERM)
            code = s.process.wait(20)
            expect(code == (-signal.SIGTERM if twice else 1) and time.monotonic() - start < 10, code, s.said())
            expect(twice or "1 answer was cut off after 1 s" in s.said(), s.said())


def check_leaving():
    """a call ends at once when its client leaves: before its answer, within it, by a reset, by half"""
    with Server() as s:
        def leave(path, seen, reset=False, half=False):
            link = s.connect()
            link.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            if seen:
                expect(b"200 OK" in link.recv(4096), "no answer")
            wait_until(lambda: s.metrics()["essaim_http_calls_in_flight"] == 1)
            if reset:
                link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            start = time.monotonic()
            if half:
                link.shutdown(socket.SHUT_WR)
            else:
                link.close()
            wait_until(lambda: s.metrics()["essaim_http_calls_in_flight"] == 0)
            expect(time.monotonic() - start < 0.5, path, "took", time.monotonic() - start)
            link.close()

        for way in ({}, {"reset": True}, {"half": True}):
            leave("/later/60000", False, **way)
            leave("/events/1000/60000", False, **way)
            leave("/events/100000/700", True, **way)
        expect(s.metrics()['essaim_http_requests_total{path="other",code="499"}'] == 9, "499s")
        s.stop()


def check_page():
    """the page's files come with their types, ETags and a policy that allows nothing from elsewhere"""
    files = sorted(name for name in os.listdir(os.path.join(SOURCE, "web")) if not name.endswith(".md"))
    with Server() as s:
        for name in ["", *files]:
            status, headers, body = s.ask("GET", "/" + name)
            with open(os.path.join(SOURCE, "web", name or "index.html"), "rb") as file:
                expect(status == 200 and body == file.read(), name, status)
            expect("default-src 'none'" in headers["content-security-policy"] and headers["etag"], headers)
            kind = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}.get((name or ".html").rsplit(".", 1)[1])
            expect(kind is None or headers["content-type"].startswith(kind), name, headers)
            status, again, body = s.ask("GET", "/" + name, headers={"If-None-Match": headers["etag"]})
            expect(status == 304 and body == b"" and again["etag"] == headers["etag"], status, again)
            expect(s.ask("POST", "/" + name, "x")[0] == 405, name)


CHECKS = [check_paths, check_keep_alive, check_request_ids, check_cors, check_keys, check_binding, check_https, check_metrics,
          check_cluster, check_loading, check_drain, check_leaving]

if __name__ == "__main__":
    run_checks(CHECKS + ([check_page] if os.path.isdir(os.path.join(SOURCE, "web")) else []))
