#!/usr/bin/env python3
"""Writes tests/formats/vectors/quant.txt: blocks of each integer format and the values they stand for, decoded here from the
formats' definitions in exact arithmetic. Blocks come from tests/golden/gguf where its files hold the format, else from a generator.

Each line: format, the block in hex, then its values as binary32 in hex. Run: python3 tests/formats/make_quant_vectors.py
"""
import pathlib
import random
import struct
from fractions import Fraction

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE.parent / "golden" / "gguf"
IQ4_NL = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
BLOCKS_OF_EACH = 6


def half(two_bytes):
    return Fraction(struct.unpack("<e", two_bytes)[0])


def nibbles(data):
    return [b & 15 for b in data] + [b >> 4 for b in data]


def bits(data):
    n = int.from_bytes(data, "little")
    return [n >> i & 1 for i in range(8 * len(data))]


def fives(high, low):
    return [lo + 16 * hi for lo, hi in zip(nibbles(low), bits(high))]


def q8_0(b):
    return [half(b[:2]) * c for c in struct.unpack("<32b", b[2:])]


def q4_0(b):
    return [half(b[:2]) * (c - 8) for c in nibbles(b[2:])]


def q5_0(b):
    return [half(b[:2]) * (c - 16) for c in fives(b[2:6], b[6:])]


def q5_1(b):
    return [half(b[:2]) * c + half(b[2:4]) for c in fives(b[4:8], b[8:])]


def iq4_nl(b):
    return [half(b[:2]) * IQ4_NL[c] for c in nibbles(b[2:])]


def k_scales(p):
    """The eight 6-bit scales and the eight 6-bit mins of twelve bytes."""
    scales = [p[j] % 64 for j in range(4)] + [p[8 + j] % 16 + (p[j] // 64) * 16 for j in range(4)]
    mins = [p[4 + j] % 64 for j in range(4)] + [p[8 + j] // 16 + (p[4 + j] // 64) * 16 for j in range(4)]
    return scales, mins


def k_values(b, codes):
    scales, mins = k_scales(b[4:16])
    return [half(b[:2]) * scales[i // 32] * c - half(b[2:4]) * mins[i // 32] for i, c in enumerate(codes)]


def k_nibbles(data):
    return [c for at in range(0, 128, 32) for c in nibbles(data[at:at + 32])]


def q4_k(b):
    return k_values(b, k_nibbles(b[16:]))


def q5_k(b):
    high = b[16:48]
    return k_values(b, [c + 16 * (high[i % 32] >> i // 32 & 1) for i, c in enumerate(k_nibbles(b[48:]))])


def q6_k(b):
    d, scales, out = half(b[208:]), struct.unpack("<16b", b[192:208]), []
    for part in range(2):
        low, high = b[64 * part:64 * part + 64], b[128 + 32 * part:160 + 32 * part]
        for quarter, four in enumerate([nibbles(low)[i:i + 32] for i in (0, 32, 64, 96)]):
            out += [c + 16 * (high[i] >> 2 * quarter & 3) - 32 for i, c in enumerate(four)]
    return [d * scales[i // 16] * c for i, c in enumerate(out)]


# Format: decoder, bytes of a block, GGUF's number, where its f16 numbers stand.
FORMATS = {
    "q8_0": (q8_0, 34, 8, [0]), "q4_0": (q4_0, 18, 2, [0]), "q5_0": (q5_0, 22, 6, [0]), "q5_1": (q5_1, 24, 7, [0, 2]),
    "q4_k": (q4_k, 144, 12, [0, 2]), "q5_k": (q5_k, 176, 13, [0, 2]), "q6_k": (q6_k, 210, 14, [208]),
    "iq4_nl": (iq4_nl, 18, 20, [0]),
}


def binary32(value):
    """The nearest binary32 of a fraction, ties to even: by hand, since float() would round twice."""
    if value == 0:
        return 0.0
    exponent = max((abs(value).numerator.bit_length() - abs(value).denominator.bit_length()) - 26, -149)
    while abs(value) / Fraction(2) ** exponent >= 2 ** 24:
        exponent += 1
    while exponent > -149 and abs(value) / Fraction(2) ** exponent < 2 ** 23:
        exponent -= 1
    return float(round(value / Fraction(2) ** exponent) * Fraction(2) ** exponent)


def gguf_blocks(path, number, block_bytes):
    """The first blocks of the first tensor of this type in a GGUF file, or none."""
    data, at = path.read_bytes(), 4
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def number_of(kind):
        nonlocal at
        value = struct.unpack_from("<" + kind, data, at)[0]
        at += struct.calcsize(kind)
        return value

    def text():
        nonlocal at
        size = number_of("Q")
        at += size
        return data[at - size:at].decode()

    def skip(kind):
        nonlocal at
        if kind == 8:
            text()
        elif kind == 9:
            item, count = number_of("I"), number_of("Q")
            for _ in range(count):
                skip(item)
        else:
            at += sizes[kind]

    number_of("I")
    tensors, values = number_of("Q"), number_of("Q")
    for _ in range(values):
        text()
        skip(number_of("I"))
    found = []
    for _ in range(tensors):
        name = text()
        for _ in range(number_of("I")):
            number_of("Q")
        kind, offset = number_of("I"), number_of("Q")
        if kind == number:
            found.append((name, offset))
    begin = (at + 31) // 32 * 32
    return [data[begin + o + i * block_bytes:begin + o + (i + 1) * block_bytes] for _, o in found[:2] for i in range(2)]


def made_block(rng, block_bytes, halves):
    block = bytearray(rng.randbytes(block_bytes))
    for at in halves:
        block[at:at + 2] = struct.pack("<e", rng.choice([1, -1]) * rng.random() * 2.0 ** rng.randint(-20, 3))
    return bytes(block)


def main():
    rng = random.Random(3)
    lines = []
    for name, (decode, size, number, halves) in FORMATS.items():
        blocks = gguf_blocks(GOLDEN / "tiny-r1-q4_k_m.gguf", number, size)
        while len(blocks) < BLOCKS_OF_EACH:
            blocks.append(made_block(rng, size, halves))
        for block in blocks:
            values = "".join(struct.pack(">f", binary32(v)).hex() for v in decode(block))
            lines.append(f"{name} {block.hex()} {values}")
    (HERE / "vectors" / "quant.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
