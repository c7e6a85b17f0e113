"""A cluster of Debian's etcd on the LAN, each member on a host of its own, over https."""
import base64
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
import urllib.request

import lan

FIRST_HOST = 50


def missing():
    """Why there can be no etcd here, or None."""
    for tool in ("etcd", "openssl"):
        if shutil.which(tool) is None:
            return f"the command {tool} is missing (etcd-server, openssl)"
    return None


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def make_certificates(folder, addresses):
    openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", "/CN=ca")
    openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=etcd")
    with open(os.path.join(folder, "server.ext"), "w", encoding="utf-8") as file:
        print("subjectAltName=" + ",".join(f"IP:{address}" for address in addresses), file=file)
    openssl(folder, "x509", "-req", "-in", "server.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-out", "server.pem", "-days", "2", "-extfile",
            "server.ext")


class Etcd:
    """members of a cluster; what they keep stays in folder."""

    def __init__(self, folder, members=1):
        self.folder = folder
        self.hosts = [lan.Host(FIRST_HOST + n) for n in range(members)]
        make_certificates(folder, [host.address for host in self.hosts])
        self.ca = os.path.join(folder, "ca.pem")
        self.endpoints = ",".join(f"https://{host.address}:2379" for host in self.hosts)
        self.context = ssl.create_default_context(cafile=self.ca)
        self.members = [self._start(n) for n in range(members)]
        self.wait()

    def options(self):
        """What programs of ours are told."""
        return ["--etcd", self.endpoints, "--etcd-ca", self.ca]

    def _start(self, n):
        at = self.hosts[n].address
        peers = ",".join(f"m{i}=http://{host.address}:2380" for i, host in enumerate(self.hosts))
        return subprocess.Popen(self.hosts[n].command(
            "etcd", f"--name=m{n}", f"--data-dir={self.folder}/m{n}", f"--listen-client-urls=https://{at}:2379", f"--advertise-client-urls=https://{at}:2379",
            f"--listen-peer-urls=http://{at}:2380", f"--initial-advertise-peer-urls=http://{at}:2380", f"--initial-cluster={peers}",
            "--heartbeat-interval=50", "--election-timeout=500", f"--cert-file={self.folder}/server.pem", f"--key-file={self.folder}/server.key"),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self, n=0):
        self.members[n].send_signal(signal.SIGKILL)
        self.members[n].wait()

    def restart(self, n=0):
        self.members[n] = self._start(n)

    def call(self, path, body, n=0, timeout=3):
        request = urllib.request.Request(f"https://{self.hosts[n].address}:2379/v3/{path}", json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=timeout, context=self.context) as answer:
            return json.load(answer)

    def answers(self, n=0):
        """Whether the cluster, asked through one member, has a quorum."""
        try:
            self.call("kv/range", {"key": base64.b64encode(b"x").decode()}, n)
            return True
        except OSError:
            return False

    def wait(self, seconds=30):
        end = time.monotonic() + seconds
        while not all(self.answers(n) for n, member in enumerate(self.members) if member.poll() is None):
            if time.monotonic() > end:
                raise RuntimeError("etcd does not answer")
            time.sleep(0.1)

    def leader(self):
        """Which member leads."""
        for n, member in enumerate(self.members):
            if member.poll() is None:
                status = self.call("maintenance/status", {}, n)
                if status["leader"] == status["header"]["member_id"]:
                    return n
        return None

    def keys(self, prefix):
        """{key: lease id as text, "0": none} of all keys with a prefix."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        code = lambda text: base64.b64encode(text.encode()).decode()
        found = self.call("kv/range", {"key": code(prefix), "range_end": code(end)})
        return {base64.b64decode(kv["key"]).decode(): kv.get("lease", "0") for kv in found.get("kvs", [])}

    def compact(self):
        """Writes something, then forgets all history."""
        for turn in range(20):
            done = self.call("kv/put", {"key": base64.b64encode(b"elsewhere").decode(), "value": base64.b64encode(str(turn).encode()).decode()})
        self.call("kv/compaction", {"revision": done["header"]["revision"], "physical": True})

    def close(self):
        for member in self.members:
            if member.poll() is None:
                member.kill()
                member.wait()
        for host in self.hosts:
            host.close()
