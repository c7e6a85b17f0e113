#!/usr/bin/env python3
"""Keeps the house in order: no room includes a higher one, every room has a README.md, no source passes 800 lines."""
import pathlib
import re
import sys

LINES_MAX = 800

# Each room and the rooms whose headers it may include beside its own. "contracts" is include/essaim, "messages" what proto/ generates.
CORE = {"contracts", "base"}
ROOMS = {
    "include/essaim": set(),
    "core/base": {"contracts"},
    "core/supervise": CORE,
    "core/formats": CORE,
    "core/weights": CORE | {"formats", "kernels"},
    "core/kernels": CORE | {"formats"},
    "core/experts": CORE | {"kernels", "weights"},
    "core/planner": CORE | {"weights"},
    "core/yardstick": CORE | {"kernels"},
    "core/doctor": CORE | {"weights", "kernels", "experts", "planner", "net", "yardstick"},
    "core/net": CORE | {"messages"},
    "core/fetch": CORE | {"weights", "net"},
    "core/cluster": CORE | {"weights", "net", "messages"},
    "coordinator/text": CORE | {"weights"},
    "coordinator/constrain": CORE | {"text"},
    "coordinator/trace": CORE,
    "coordinator/model": CORE | {"trace", "weights", "kernels", "experts"},
    "coordinator/dispatch": CORE | {"trace", "weights", "kernels", "experts", "net", "cluster", "messages"},
    "coordinator/members": CORE | {"weights", "net", "cluster", "messages", "dispatch"},
    "coordinator/join": CORE | {"weights", "net", "cluster", "fetch"},
    "coordinator/sched": CORE | {"trace", "weights", "kernels", "experts", "net", "text", "model", "dispatch"},
    "coordinator/api": CORE | {"weights", "kernels", "text", "constrain", "model", "dispatch", "sched"},
    "coordinator/http": CORE | {"trace", "weights", "kernels", "experts", "net", "text", "model", "dispatch", "sched", "api", "members", "join", "fetch", "cluster"},
    "expert-node/units": CORE | {"weights", "net", "cluster", "fetch"},
    "expert-node/service": CORE | {"weights", "kernels", "experts", "net", "cluster", "messages", "units", "fetch"},
}
# Programs stand on top: they may include any room.
PROGRAMS = {"coordinator", "expert-node", "cli"}
# Folders that hold rooms and are none themselves.
FOLDERS = {"core", "include"}


def room_of(path):
    """The room a source stands in: the longest folder of ROOMS, else its program."""
    for folder in sorted(ROOMS, key=len, reverse=True):
        if path.as_posix().startswith(folder + "/"):
            return folder
    return path.parts[0]


def name_of(header, includer, source):
    """The name under which a quoted header's room is allowed, or None for one of the includer's own folder."""
    if (source / includer.parent / header).is_file() and "/" not in header:
        return None
    first = header.split("/")[0]
    if first == "essaim":
        return "contracts"
    if header.endswith(".pb-c.h"):
        return "messages"
    return first


def check_includes(source, path, complaints):
    room = room_of(path)
    if room in PROGRAMS:
        return
    if room not in ROOMS:
        complaints.append(f"{path}: stands in no room that tests/house/check_layers.py knows")
        return
    own = pathlib.PurePath(room).name
    for number, line in enumerate((source / path).read_text(encoding="utf-8").splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if not match:
            continue
        name = name_of(match.group(1), path, source)
        if name is None or name == own or (own == "essaim" and name == "contracts") or name in ROOMS[room]:
            continue
        complaints.append(f"{path}:{number}: {room} may not include {match.group(1)}")


def check_readmes(source, sources, complaints):
    rooms = {room_of(path) for path in sources} - {"include/essaim", "tests"}
    for room in sorted(rooms):
        if not (source / room / "README.md").is_file():
            complaints.append(f"{room}: has no README.md")


def main():
    source = pathlib.Path(sys.argv[1])
    tops = sorted(FOLDERS | PROGRAMS | {"tests"})
    files = [p for top in tops for p in (source / top).rglob("*.[ch]")]
    sources = sorted(p.relative_to(source) for p in files)
    if len(sources) < 20:
        sys.exit(f"{source}: only {len(sources)} sources found: is this the project's folder?")
    complaints = []
    for path in sources:
        lines = (source / path).read_text(encoding="utf-8").count("\n")
        if lines > LINES_MAX:
            complaints.append(f"{path}: {lines} lines, more than {LINES_MAX}")
        if path.parts[0] != "tests":
            check_includes(source, path, complaints)
    check_readmes(source, [p for p in sources if p.parts[0] != "tests"], complaints)
    print("\n".join(complaints) or f"{len(sources)} sources in order")
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
