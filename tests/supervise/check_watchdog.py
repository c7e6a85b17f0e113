"""An expert node tells a service manager that its loop goes round, and stops when a thread of it is stuck; so does a coordinator that waits."""
import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "http"))
from serving import BUILD, HOST, REAL, Server, TINY, expect, run_checks  # noqa: E402

NODE = os.path.join(BUILD, "essaim-expert-node")
WATCHDOG_S = 0.8
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(what, thread):
    if LIBC.ptrace(what, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")


class Manager:
    """A service manager's socket and what it heard."""

    def __init__(self, folder):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.path = os.path.join(folder, "notify")
        self.socket.bind(self.path)

    def hear(self, wanted, seconds):
        """The message that has this in it, or None when none comes in time; others are dropped."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                said = self.socket.recv(4096).decode()
            except TimeoutError:
                return None
            if wanted in said:
                return said
        return None

    def forget(self):
        while self.hear("", 0.01):
            pass


def start_node(manager, *options):
    environment = dict(os.environ, NOTIFY_SOCKET=manager.path, WATCHDOG_USEC=str(int(WATCHDOG_S * 1e6)))
    return subprocess.Popen([NODE, "--model", TINY, "--listen", HOST + ":0", "--threads", "2", "--name", "n1", *options],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, env=environment)


def worker_of(process):
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        with open(f"/proc/{process.pid}/task/{thread}/comm", encoding="ascii") as file:
            if file.read().strip() == "pool":
                return int(thread)
    raise AssertionError("no worker")


def check_life():
    """ready, beats at half the time asked for, reloading and ready again, stopping"""
    with tempfile.TemporaryDirectory() as folder:
        manager = Manager(folder)
        node = start_node(manager)
        expect("STATUS=tcp://127.0.0.1:" in manager.hear("READY=1", 60), "ready")
        start = time.monotonic()
        for _ in range(4):
            expect(manager.hear("WATCHDOG=1", WATCHDOG_S), "a beat in time")
        expect(time.monotonic() - start > WATCHDOG_S, "no more beats than wanted")
        node.send_signal(signal.SIGHUP)
        expect(manager.hear("RELOADING=1\nMONOTONIC_USEC=", 5) and manager.hear("READY=1", 5), "reloading")
        node.send_signal(signal.SIGTERM)
        expect(manager.hear("STOPPING=1", 5) and node.wait(10) == 0, "stopping")
        node.stdout.close()


def check_stuck_worker():
    """a worker that is stuck in a call stops the beat, and it comes back with it"""
    with tempfile.TemporaryDirectory() as folder:
        manager = Manager(folder)
        node = start_node(manager)
        control = re.search(r"control=tcp://(\S+)", node.stdout.readline())[1]
        with Server("--node", control, program=REAL) as s:
            question = {"max_tokens": 2, "messages": [{"role": "user", "content": "Add 15 and 27."}]}
            asking = threading.Thread(target=s.ask, args=("POST", "/v1/chat/completions", question))
            thread = worker_of(node)
            ptrace(PTRACE_SEIZE, thread)
            ptrace(PTRACE_INTERRUPT, thread)
            os.waitpid(thread, 0x40000000)  # __WALL
            expect(manager.hear("WATCHDOG=1", WATCHDOG_S), "it beats without calls")
            asking.start()
            time.sleep(0.3)
            manager.forget()
            expect(manager.hear("WATCHDOG=1", 3 * WATCHDOG_S) is None, "a beat while a worker is stuck")
            ptrace(PTRACE_DETACH, thread)
            expect(manager.hear("WATCHDOG=1", 10), "no beat after it")
            asking.join()
            s.stop()
        node.terminate()
        expect(node.wait(10) == 0, "stopped")
        node.stdout.close()


def check_waiting():
    """a coordinator that waits for its nodes has started and beats: it would be killed otherwise, however often it is started"""
    with tempfile.TemporaryDirectory() as folder:
        manager = Manager(folder)
        environment = dict(os.environ, NOTIFY_SOCKET=manager.path, WATCHDOG_USEC=str(int(WATCHDOG_S * 1e6)))
        head = subprocess.Popen([REAL, "--model", TINY, "--registry", os.path.join(folder, "registry"), "--listen", HOST + ":0"],
                                stderr=subprocess.DEVNULL, env=environment)
        expect("STATUS=waiting for nodes that hold all experts" in (manager.hear("READY=1", 60) or ""), "it says what it waits for")
        for _ in range(3):
            expect(manager.hear("WATCHDOG=1", WATCHDOG_S), "a beat in time")
        head.send_signal(signal.SIGTERM)
        expect(manager.hear("STOPPING=1", 5) and head.wait(10) == 0, "stopping")


run_checks([check_life, check_stuck_worker, check_waiting])
