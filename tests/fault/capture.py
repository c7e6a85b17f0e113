"""What travels over an interface, as tshark captures and reads it: its TCP streams put together, and cut into ZMTP's frames."""
import collections
import re
import shutil
import signal
import struct
import subprocess
import time

GREETING, BUFFER_MIB, SECONDS_MAX = 64, 256, 120
FIELDS = ("ip.src", "tcp.srcport", "ip.dst", "tcp.dstport", "tcp.flags.syn", "tcp.seq_raw", "tcp.payload")

Stream = collections.namedtuple("Stream", "source source_port target target_port data whole")


def missing():
    """Why nothing can be captured here, or None."""
    return None if shutil.which("tshark") else "the command tshark is missing"


class Capture:
    """Of an interface, on a host (None: here), into a pcap file, from the moment it is entered until it is left; missed: frames dropped."""

    def __init__(self, path, interface, host=None):
        self.path, self.missed = path, None
        words = ["tshark", "-n", "-q", "-i", interface, "-B", str(BUFFER_MIB), "-F", "pcap", "-w", path, "-a", f"duration:{SECONDS_MAX}"]
        self.popen = subprocess.Popen(host.command(*words) if host else words, stderr=subprocess.PIPE, text=True)

    def __enter__(self):
        said = []
        for line in self.popen.stderr:
            if "Capture started" in line:
                return self
            said.append(line)
        raise RuntimeError("tshark does not capture: " + "".join(said))

    def __exit__(self, *_):
        time.sleep(0.3)  # what is on its way
        self.popen.send_signal(signal.SIGINT)
        said = self.popen.communicate(timeout=60)[1]
        dropped = re.search(r"(\d+) packets? dropped", said)
        self.missed = int(dropped.group(1)) if dropped else 0


def segments(path):
    """(addresses and ports, SYN?, sequence number, payload) of every TCP segment over IPv4 in a pcap file."""
    words = ["tshark", "-n", "-r", path, "-Y", "ip and tcp", "-T", "fields"]
    for field in FIELDS:
        words += ["-e", field]
    done = subprocess.run(words, capture_output=True, text=True, timeout=SECONDS_MAX, check=True)
    for line in done.stdout.splitlines():
        source, source_port, target, target_port, syn, number, payload = line.split("\t")
        yield (source, int(source_port), target, int(target_port)), syn in ("1", "True"), int(number), bytes.fromhex(payload)


def streams(path):
    """Each direction of each connection, put together; not whole: something in it was missed, or it began before."""
    first, pieces = {}, collections.defaultdict(dict)
    for where, syn, number, payload in segments(path):
        if syn:
            first[where] = number + 1
        elif payload:
            pieces[where].setdefault(number, payload)
    for where, parts in pieces.items():
        base = first.get(where, min(parts))
        data, whole = bytearray(), where in first
        for offset, payload in sorted(((number - base) % 2**32, payload) for number, payload in parts.items()):
            if offset > len(data):
                whole = False
            data += payload[max(len(data) - offset, 0):] if offset <= len(data) else payload
        yield Stream(*where, bytes(data), whole)


def mechanism(stream):
    """ZMTP's security mechanism, "CURVE" or "NULL"; None: this is no ZMTP."""
    if len(stream.data) < GREETING or stream.data[0] != 0xff or stream.data[9] != 0x7f:
        return None
    return stream.data[12:32].rstrip(b"\0").decode()


def frames(stream):
    """(more follow, is a command, body) of each whole frame behind the greeting."""
    at, data = GREETING, stream.data
    while at + 2 <= len(data):
        flags, long = data[at], bool(data[at] & 2)
        if long and at + 9 > len(data):
            return
        size = struct.unpack_from(">Q", data, at + 1)[0] if long else data[at + 1]
        start = at + (9 if long else 2)
        if start + size > len(data):
            return
        yield bool(flags & 1), bool(flags & 4), data[start:start + size]
        at = start + size
