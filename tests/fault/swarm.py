"""A coordinator and expert nodes, each on a host of its own in the LAN."""
import ctypes
import os
import re
import select
import signal
import subprocess
import tempfile
import time
import urllib.request

import lan

BUILD, SOURCE = os.environ["ESSAIM_BUILD"], os.environ["ESSAIM_SOURCE"]
READY_S = 40
MODEL = os.path.join(SOURCE, "models", "tiny-r1")
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207


def program(name):
    return os.path.join(BUILD, name)


class Process:
    """A program on a host, with what it says on stderr in a file."""

    def __init__(self, host, words, log):
        self.log = open(log, "ab")
        ready, told = os.pipe()
        self.popen = subprocess.Popen(host.command(*words, "--ready-fd", str(told)), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                      pass_fds=[told])
        os.close(told)
        with os.fdopen(ready) as lines:
            line = lines.readline() if select.select([ready], [], [], READY_S)[0] else f"not ready within {READY_S} s"
        if not line.startswith("ready"):
            self.kill()
            raise RuntimeError(f"{words[0]}: {line or 'ended before it was ready'}")

    def signal(self, number):
        self.popen.send_signal(number)

    def kill(self):
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGCONT)
            self.popen.kill()
        self.popen.wait()
        self.log.close()

    def files(self):
        return len(os.listdir(f"/proc/{self.popen.pid}/fd"))

    def memory_kib(self, which="VmRSS"):
        with open(f"/proc/{self.popen.pid}/status", encoding="utf-8") as file:
            return int(re.search(rf"{which}:\s+(\d+)", file.read()).group(1))


class Swarm:
    """parts: what each node holds, "1/2"; bad: nodes (counted from 0) whose link is a cable."""

    model = MODEL

    def __init__(self, folder, parts, bad=(), options=(), heads=1, node_options=()):
        self.folder, self.parts, self.options, self.node_options = folder, parts, list(options), list(node_options)
        self.hosts = [lan.Host(10 + n, program("tests/cable") if n in bad else None) for n in range(len(parts))]
        self.heads = [lan.Host(1 + n) for n in range(heads)]
        self.host = self.heads[0]
        self.keys = [self.make_key(name) for name in ["coordinator", *(f"n{n + 1}" for n in range(len(parts)))]]
        self.allow(self.keys[0])
        self.nodes = [self.start_node(n) for n in range(len(parts))]
        self.coordinators = [self.start_coordinator(n) for n in range(heads)]

    @property
    def coordinator(self):
        return self.coordinators[0]

    @coordinator.setter
    def coordinator(self, process):
        self.coordinators[0] = process

    def key_file(self, name):
        return os.path.join(self.folder, f"{name}.key")

    def make_key(self, name):
        """The public key of a pair, which is made unless it is there."""
        path = self.key_file(name)
        if not os.path.exists(path):
            subprocess.run([program("essaim"), "keygen", path], check=True, capture_output=True)
        with open(f"{path}.pub", encoding="utf-8") as file:
            return file.read().strip()

    def allow(self, *keys):
        """Who may come to the nodes, from now on."""
        path = os.path.join(self.folder, "allow")
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            print(*keys, sep="\n", file=file)
        os.replace(f"{path}.new", path)

    def start_node(self, n, keys=None, model=None, more=()):
        return Process(self.hosts[n], [program("essaim-expert-node"), "--model", model or self.model, "--part", self.parts[n], "--listen", f"{self.hosts[n].address}:5700",
                                       "--data-port", "5701", "--name", f"n{n + 1}", "--threads", "1", "--keys", self.key_file(keys or f"n{n + 1}"),
                                       "--allow", os.path.join(self.folder, "allow"), *self.node_options, *more], os.path.join(self.folder, f"n{n + 1}.log"))

    def start_coordinator(self, head=0):
        nodes = [word for n, host in enumerate(self.hosts) for word in ("--node", f"{host.address}:5700,{self.keys[n + 1]}")]
        return Process(self.heads[head], [program("essaim-coordinator"), "--model", self.model, *nodes, "--keys", self.key_file("coordinator"), "--threads", "1",
                                          "--listen", f"{self.heads[head].address}:8080", "--allow-anonymous", "--quiet", *self.options], self.log_file(head))

    def restart_node(self, n):
        self.nodes[n].kill()
        self.nodes[n] = self.start_node(n)

    def metrics(self, head=0):
        with urllib.request.urlopen(f"http://{self.heads[head].address}:8080/metrics", timeout=10) as page:
            return page.read().decode()

    def metric(self, name, node, head=0):
        """One of a node's, as a coordinator tells it; None: it tells none."""
        found = re.search(rf'^{name}{{node="{node}"[^}}]*}} (\S+)$', self.metrics(head), re.MULTILINE)
        return float(found.group(1)) if found else None

    def node_is_back(self, n):
        """Lost once and up again."""
        return self.metric("essaim_node_up", f"n{n + 1}") == 1 and any(f"node n{n + 1} " in line and "is back" in line for line in self.states())

    def log_file(self, head=0):
        return os.path.join(self.folder, f"coordinator{head or ''}.log")

    def log(self):
        with open(self.log_file(), encoding="utf-8") as file:
            return file.read()

    def states(self):
        """Lines of the coordinator's log about nodes, without their time."""
        return [line.strip() for line in self.log().splitlines() if " node n" in line]

    def close(self):
        for process in [*self.coordinators, *self.nodes]:
            process.kill()
        for host in [*self.heads, *self.hosts]:
            host.close()


class StuckThread:
    """Stops a process's first thread, the one that works, and leaves the others running."""

    def __init__(self, pid):
        self.pid, self.libc = pid, ctypes.CDLL(None, use_errno=True)
        self.libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        if self.libc.ptrace(PTRACE_SEIZE, pid, None, None) != 0 or self.libc.ptrace(PTRACE_INTERRUPT, pid, None, None) != 0:
            raise OSError(ctypes.get_errno(), "ptrace")
        os.waitpid(pid, 0x40000000)  # __WALL

    def release(self):
        self.libc.ptrace(PTRACE_DETACH, self.pid, None, None)


def wait_until(what, seconds):
    """True when what() was true before the time was over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.02)
    return False


def folder():
    return tempfile.TemporaryDirectory(prefix="essaim-fault-")
