"""A LAN of network namespaces on one machine: a bridge, and a link for each host that may be a bad cable.

Everything lives in namespaces that end with the processes in them: nothing has to be cleaned up, whatever happens.
"""
import ctypes
import os
import shutil
import subprocess

CLONE_NEWNET = 0x40000000
BRIDGE = "lan"
NETWORK = "10.77.0"


def missing_rights():
    """Why there can be no LAN here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool in ("ip", "nsenter", "unshare"):
        if shutil.which(tool) is None:
            return f"the command {tool} is missing (iproute2, util-linux)"
    if not os.path.exists("/dev/net/tun"):
        return "/dev/net/tun is missing"
    if subprocess.run(["unshare", "--net", "ip", "link", "add", "x", "type", "bridge"], capture_output=True, check=False).returncode:
        return "this machine gives no network namespaces with bridges"
    return None


def ip(*words):
    subprocess.run(["ip", *words], check=True)


class Host:
    """A namespace with an address. cable: its link can be made bad."""

    def __init__(self, number, cable_program=None):
        self.address = f"{NETWORK}.{number}"
        self.anchor = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.anchor.stdout.readline()
        self.cable = None
        near, far = f"near{number}", f"far{number}"
        if cable_program:
            self.cable = subprocess.Popen([cable_program, far, near], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            self._answer()
        else:
            ip("link", "add", near, "type", "veth", "peer", "name", far)
        self.near = near
        ip("link", "set", far, "netns", str(self.anchor.pid))
        ip("link", "set", near, "master", BRIDGE, "up")
        for words in (["addr", "add", f"{self.address}/24", "dev", far], ["link", "set", far, "up"], ["link", "set", "lo", "up"]):
            subprocess.run(self.command("ip", *words), check=True)

    def command(self, *words):
        """words, to be run on this host."""
        return ["nsenter", f"--net=/proc/{self.anchor.pid}/ns/net", *words]

    def _answer(self):
        if self.cable.stdout.readline() != "ok\n":
            raise RuntimeError("the cable does not answer")

    def link(self, to_lan="", from_lan=None):
        """The cable's state from now on, the same both ways unless from_lan is given; tests/fault/cable.c lists the words."""
        for way, words in (("ab", to_lan), ("ba", to_lan if from_lan is None else from_lan)):
            self.cable.stdin.write(f"{way} {words}\n")
            self.cable.stdin.flush()
            self._answer()

    def close(self):
        if not self.cable:
            ip("link", "del", self.near)  # a namespace ends some time after its last process: the name would stay taken
        for process in (self.cable, self.anchor):
            if process:
                process.stdin.close()
                process.wait()


def enter():
    """Takes this process into a network namespace of its own, with the bridge; its own address ends in 254."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    ip("link", "set", "lo", "up")
    # An address of its own: else the bridge has its ports' lowest, and when that one goes, nobody finds it until the neighbours' tables lapse.
    ip("link", "add", BRIDGE, "address", "02:00:00:00:00:fe", "type", "bridge")
    ip("addr", "add", f"{NETWORK}.254/24", "dev", BRIDGE)
    ip("link", "set", BRIDGE, "up")
