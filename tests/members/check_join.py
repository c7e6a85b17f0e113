#!/usr/bin/env python3
"""A swarm that grows from one machine: nodes join with tokens, fetch what they are to hold, answer like one process, and are revoked."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import check_members  # noqa: E402
from check_members import BUILD, MODEL, Head, Load, essaim, free_port, wait_for  # noqa: E402


class Machine:
    """What `essaim join` makes of a folder."""

    def __init__(self, home, name, *words, token=""):
        self.home, self.name, self.said = home / name, name, []
        self.process = subprocess.Popen([BUILD / "essaim", "join", *words, "--dir", self.home, "--threads", "1"],
                                        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.process.stdin.write(token)
        self.process.stdin.close()
        self.listener = threading.Thread(target=lambda: self.said.extend(self.process.stderr), daemon=True)
        self.listener.start()

    def stop(self, kill=False):
        if self.process.poll() is None:
            self.process.kill() if kill else self.process.terminate()
        self.process.wait(30)
        self.listener.join(5)


def ports():
    """The first of three that are free."""
    while True:
        port = free_port()
        try:
            import socket
            with socket.socket() as a, socket.socket() as b:
                a.bind(("127.0.0.1", port + 1))
                b.bind(("127.0.0.1", port + 2))
            return port
        except OSError:
            continue


def shards_of(machine):
    return sorted(path.name for path in (machine.home / "shards").glob("layers.*.shard"))


def cut(home):
    """A model in shards, and the keys of the machine that has them."""
    shards, key = home / "shards", home / "head.key"
    essaim("shard", "--model", MODEL, "--out", shards, "--nodes", "1")
    essaim("keygen", key)
    check_members.MODEL = shards  # what heads are started on
    return shards, key


def joined(home, running, name, token):
    """The token comes on standard input, or in a file: neither is in the list of processes."""
    words = ["--name", name, "--listen", f"127.0.0.1:{ports()}", "--memory", "1G"]
    if name == "n1":
        machine = Machine(home, name, "-", *words, token=f"{token}\n")
    else:
        (home / "token").write_text(f"  {token} \n# what follows is not read\n")
        machine = Machine(home, name, "--token-file", home / "token", *words)
    running.append(machine)
    return machine


def check_embedded(home, running):
    shards, key = cut(home)
    registry, at = home / "registry", f"127.0.0.1:{free_port()}"
    alone = Head("--model-name", "tiny-r1")
    running.append(alone)
    wait_for("one process alone", lambda: alone.ask("/health")[0] == 200)
    reference = Load([alone])
    wait_for("answers of one process", lambda: len(reference.answers) >= 10)
    right = reference.stop()
    alone.stop()

    head = Head("--model-name", "tiny-r1", "--keys", key, "--registry", registry, "--join-listen", at, "--log-level", "debug")
    running.append(head)
    wait_for("the registry", registry.is_dir)

    tokens = []

    def join(name):
        tokens.append(essaim("token", "--registry", registry, "--keys", key, "--at", at).split()[0])
        return joined(home, running, name, tokens[-1])

    mute = Machine(home, "n0", "-", "--memory", "1G")
    assert mute.process.wait(30) == 1
    mute.stop()
    assert "standard input: no token is on its first line" in "".join(mute.said), mute.said
    one = join("n1")
    wait_for(f"n1 holds all: {one.said} {head.membership()}", lambda: head.settled(["n1"]))
    wait_for("the swarm answers", lambda: head.ask("/health")[0] == 200)
    everything = shards_of(one)
    assert len(everything) > 0, "it fetched nothing"
    load = Load([head])
    two = join("n2")
    essaim("status", "--url", head.url, "--wait", "60", "--nodes", "2", "--ready")
    wait_for("what the other took over is let go", lambda: head.settled(["n1", "n2"]))
    assert "2 of 3 nodes ready" in essaim("status", "--url", head.url, "--nodes", "3", ok=False)
    doctor = essaim("doctor", "--quick", "--registry", registry, "--keys", key, "--url", head.url)
    assert doctor.count(".round_trip") >= 2, doctor
    mine = shards_of(two)
    assert 0 < len(mine) < len(everything), (len(mine), len(everything))

    # killed and started again without a token: it has what it had, and nothing is fetched anew
    two.stop(kill=True)
    before = {name: (two.home / "shards" / name).stat().st_mtime_ns for name in mine}
    two = Machine(home, "n2")
    running.append(two)
    wait_for("n2 is back", lambda: head.settled(["n1", "n2"]) and head.phases().get("n2") == "holds")
    assert before == {name: (two.home / "shards" / name).stat().st_mtime_ns for name in mine}

    # a key that is no member's, as another coordinator's that was stolen: the nodes are told to refuse it
    essaim("keygen", home / "stolen.key")
    stolen = (home / "stolen.key.pub").read_text().split()[0]
    essaim("revoke", stolen, "--registry", registry)
    wait_for("the nodes refuse a stolen key", lambda: all(
        (machine.home / "revoked").exists() and stolen in (machine.home / "revoked").read_text() for machine in (one, two)))

    # and say who came in vain
    port = next(line for line in one.said if "others reach it at" in line).split(":")[-1].strip()
    public = (home / "n1" / "node.key.pub").read_text().split()[0]
    essaim("doctor", "--quick", "--keys", home / "stolen.key", "--peer", f"127.0.0.1:{port},{public}", ok=False)
    refusal = "refused a connection from 127.0.0.1: its public key is not on the list, or was revoked"
    wait_for("n1 tells of a stranger", lambda: any(refusal in line and stolen in line for line in one.said))

    # revoked: it is left alone, and the other takes over what it held
    assert "revoked" in essaim("revoke", "n2", "--registry", registry)
    wait_for("n1 holds all again", lambda: head.settled(["n1"]))
    assert head.phases().get("n2") in (None, "refused"), head.phases()
    told = "this machine's key was revoked, says the coordinator at 127.0.0.1"
    wait_for("n2 says that it was revoked", lambda: any(told in line for line in two.said))
    assert " revoked " in essaim("node", "list", "--registry", registry)
    assert essaim("node", "remove", "n2", "--registry", registry) == "n2 is removed\n"  # nobody takes anything from it
    assert shards_of(one) == everything
    seen = load.stop()
    for prompt, answer in seen.items():
        assert right.get(prompt, answer) == answer, (prompt, answer, right[prompt])
    assert set(seen) & set(right), "nothing was compared"

    # tokens let machines in: they are in no log at any level, not even in part
    said = "\n".join(line for program in running for line in program.said)
    assert "joins at" in said
    for token in tokens:
        secret = token.split("@")[0]
        assert all(part not in said for part in (secret, secret[:24], secret[24:])), "a token in a log"

    # who is to be drained and is the last hears why that cannot be
    said = essaim("drain", "n1", "--url", head.url, ok=False)
    assert "no other node is there to take over" in said, said

    # and who is removed learns it, works for nobody any more, and ends as ever when it is stopped
    assert "n1 has the only copy of" in essaim("node", "remove", "n1", "--registry", registry, ok=False)
    essaim("node", "remove", "n1", "--registry", registry, "--force")
    told = "removed from the swarm, says the coordinator at 127.0.0.1"
    wait_for("n1 says that it was removed", lambda: any(told in line for line in one.said))
    wait_for("it is in no list", lambda: "n1" not in head.phases() or "not registered" in str(head.membership()))
    for machine, count in ((one, 0), (two, 1)):
        machine.stop()
        assert machine.process.returncode == 0, machine.process.returncode
        assert sum("was revoked, says" in line for line in machine.said) == count, machine.said
    assert sum(told in line for line in one.said) == 1, one.said


def check_etcd(home, running):
    """Machines that join announce themselves in etcd, under leases of their own; the coordinator may come and go."""
    if shutil.which("etcd") is None:
        print("this machine has no etcd", file=sys.stderr)
        sys.exit(77)
    shards, key = cut(home)
    etcd, at = check_members.Etcd(home), f"127.0.0.1:{free_port()}"
    running.append(etcd)
    registry = ["--etcd", etcd.url, "--etcd-prefix", "fleet/"]

    def start():
        head = Head("--model-name", "tiny-r1", "--keys", key, *registry, "--placement", "auto", "--join-listen", at)
        running.append(head)
        return head

    def join(name):
        return joined(home, running, name, essaim("token", *registry, "--keys", key, "--at", at).split()[0])

    head = start()
    nodes = [join("n1"), join("n2")]
    wait_for("both hold their shares", lambda: head.settled(["n1", "n2"]))
    assert essaim("node", "list", *registry).count(" ready ") == 2
    load = Load([head])
    wait_for("the swarm answers", lambda: load.count > 5 or load.failed)
    load.stop()

    # The coordinator is another one, the nodes' leases are theirs.
    head.stop(kill=True)
    assert essaim("node", "list", *registry).count(" ready ") == 2
    head = start()
    wait_for("the next coordinator finds them", lambda: head.settled(["n1", "n2"]))

    # One ends: its record goes with it. It starts again, told nothing, and is in etcd as before.
    mine = shards_of(nodes[1])
    nodes[1].stop()
    assert essaim("node", "list", *registry).count(" ready ") == 1
    port = next(word for word in nodes[1].said if "others reach it at" in word).split(":")[-1].strip()
    nodes[1] = Machine(home, "n2", "--advertise", f"localhost:{port}", "--rack", "b")  # its address is another one now
    running.append(nodes[1])
    wait_for("n2 is back", lambda: head.settled(["n1", "n2"]) and essaim("node", "list", *registry).count(" ready ") == 2)
    assert shards_of(nodes[1]) == mine

    # Revoked: the other takes over.
    assert "revoked" in essaim("revoke", "n2", *registry)
    wait_for("n1 holds all", lambda: head.settled(["n1"]))
    wait_for("n2 is refused", lambda: head.phases().get("n2") == "refused")
    wait_for("n2 says so", lambda: any("this machine's key was revoked" in line for line in nodes[1].said))
    said = essaim("node", "remove", "n1", *registry, ok=False)
    assert "n1 has the only copy of" in said, said
    assert "; if it runs it works on" in essaim("node", "remove", "n1", *registry, "--force")


def main():
    home = pathlib.Path(tempfile.mkdtemp(prefix="essaim-join-"))
    running = []
    try:
        globals()["check_" + sys.argv[1]](home, running)
    except SystemExit:
        raise
    except BaseException:
        for program in running:
            print(type(program).__name__, *getattr(program, "said", [])[-15:], sep="\n  ", file=sys.stderr)
        raise
    finally:
        for program in reversed(running):
            program.stop()
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
