"""A coordinator and expert nodes, each on a host of its own in the LAN."""
import ctypes
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.request

import lan

BUILD, SOURCE = os.environ["ESSAIM_BUILD"], os.environ["ESSAIM_SOURCE"]
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
            line = lines.readline()
        if not line.startswith("ready"):
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

    def memory_kib(self):
        with open(f"/proc/{self.popen.pid}/status", encoding="utf-8") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1))


class Swarm:
    """parts: what each node holds, "1/2"; bad: nodes (counted from 0) whose link is a cable."""

    def __init__(self, folder, parts, bad=(), options=()):
        self.folder, self.parts, self.options = folder, parts, list(options)
        self.hosts = [lan.Host(10 + n, program("tests/cable") if n in bad else None) for n in range(len(parts))]
        self.host = lan.Host(1)
        self.keys = []
        for name in ["coordinator", *(f"n{n + 1}" for n in range(len(parts)))]:
            path = os.path.join(folder, f"{name}.key")
            if not os.path.exists(path):
                subprocess.run([program("essaim"), "keygen", path], check=True, capture_output=True)
            with open(f"{path}.pub", encoding="utf-8") as file:
                self.keys.append(file.read().strip())
        with open(os.path.join(folder, "allow"), "w", encoding="utf-8") as file:
            print(self.keys[0], file=file)
        self.nodes = [self.start_node(n) for n in range(len(parts))]
        self.coordinator = self.start_coordinator()

    def start_node(self, n):
        return Process(self.hosts[n], [program("essaim-expert-node"), "--model", MODEL, "--part", self.parts[n], "--listen", f"{self.hosts[n].address}:5700",
                                       "--data-port", "5701", "--name", f"n{n + 1}", "--threads", "1", "--keys", os.path.join(self.folder, f"n{n + 1}.key"),
                                       "--allow", os.path.join(self.folder, "allow")], os.path.join(self.folder, f"n{n + 1}.log"))

    def start_coordinator(self):
        nodes = [word for n, host in enumerate(self.hosts) for word in ("--node", f"{host.address}:5700,{self.keys[n + 1]}")]
        return Process(self.host, [program("essaim-coordinator"), "--model", MODEL, *nodes, "--keys", os.path.join(self.folder, "coordinator.key"), "--threads",
                                   "1", "--listen", f"{self.host.address}:8080", "--allow-anonymous", "--quiet", *self.options],
                       os.path.join(self.folder, "coordinator.log"))

    def restart_node(self, n):
        self.nodes[n].kill()
        self.nodes[n] = self.start_node(n)

    def metrics(self):
        with urllib.request.urlopen(f"http://{self.host.address}:8080/metrics", timeout=10) as page:
            return page.read().decode()

    def states(self):
        """Lines of the coordinator's log about nodes, without their time."""
        with open(os.path.join(self.folder, "coordinator.log"), encoding="utf-8") as file:
            return [line.strip() for line in file if " node n" in line]

    def close(self):
        for process in [self.coordinator, *self.nodes]:
            process.kill()
        for host in [self.host, *self.hosts]:
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
