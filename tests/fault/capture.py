#!/usr/bin/env python3
"""What travels over interfaces (none named: all), as a pcap file: capture.py FILE INTERFACE…; says "ok" when it listens, ends with stdin
and then says how many frames it missed. As a module: reads such a file, puts TCP streams together, and cuts them into ZMTP's frames."""
import collections
import selectors
import socket
import struct
import sys
import time

FRAME_MAX = 262144
SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS, PACKET_OUTGOING = 33, 263, 6, 4
GREETING = 64

Stream = collections.namedtuple("Stream", "source source_port target target_port data whole")


def capture(path, interfaces):
    sockets = selectors.DefaultSelector()
    for name in interfaces or [None]:
        link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        link.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 256 << 20)
        if name:
            link.bind((name, 3))
        sockets.register(link, selectors.EVENT_READ)
    sockets.register(sys.stdin, selectors.EVENT_READ)
    missed, more = 0, True
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", 0xa1b2c3d4, 2, 4, 0, 0, FRAME_MAX, 1))
        print("ok", flush=True)
        while more:
            for key, _ in sockets.select():
                if key.fileobj is sys.stdin:
                    more = False
                    continue
                frame, address = key.fileobj.recvfrom(FRAME_MAX)
                if address[0] == "lo" and address[2] == PACKET_OUTGOING:
                    continue  # loopback shows each frame twice
                now = time.time_ns()
                file.write(struct.pack("<IIII", now // 10**9, now % 10**9 // 1000, len(frame), len(frame)) + frame)
        for key in list(sockets.get_map().values()):
            if key.fileobj is not sys.stdin:
                missed += struct.unpack("II", key.fileobj.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))[1]
    print(missed, flush=True)


def segments(path):
    """(addresses and ports, SYN?, sequence number, payload) of every TCP segment over IPv4 in a pcap file."""
    with open(path, "rb") as file:
        data = file.read()
    at = 24
    while at + 16 <= len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        frame, at = data[at + 16:at + 16 + length], at + 16 + length
        if len(frame) < 54 or frame[12:14] != b"\x08\0" or frame[23] != 6:
            continue
        head = 14 + (frame[14] & 15) * 4
        total = 14 + struct.unpack_from(">H", frame, 16)[0]
        ports = struct.unpack_from(">HH", frame, head)
        start = head + (frame[head + 12] >> 4) * 4
        yield (socket.inet_ntoa(frame[26:30]), ports[0], socket.inet_ntoa(frame[30:34]), ports[1]), bool(frame[head + 13] & 2), \
            struct.unpack_from(">I", frame, head + 4)[0], frame[start:max(total, start)]


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


if __name__ == "__main__":
    capture(sys.argv[1], sys.argv[2:])
