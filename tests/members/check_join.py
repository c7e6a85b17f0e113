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

    def __init__(self, home, name, *words):
        self.home, self.name, self.said = home / name, name, []
        self.process = subprocess.Popen([BUILD / "essaim", "join", *words, "--dir", self.home, "--threads", "1"],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
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


def main():
    home = pathlib.Path(tempfile.mkdtemp(prefix="essaim-join-"))
    running = []
    try:
        shards, registry, key = home / "shards", home / "registry", home / "head.key"
        essaim("shard", "--model", MODEL, "--out", shards, "--nodes", "1")
        essaim("keygen", key)
        at = f"127.0.0.1:{free_port()}"
        check_members.MODEL = shards  # what heads are started on
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
            token = essaim("token", "--registry", registry, "--keys", key, "--at", at).split()[0]
            at_node = f"127.0.0.1:{ports()}"
            machine = Machine(home, name, token, "--name", name, "--listen", at_node, "--memory", "1G")
            machine.at = at_node
            tokens.append(token)
            running.append(machine)
            return machine

        one = join("n1")
        wait_for(f"n1 holds all: {one.said} {head.membership()}", lambda: head.settled(["n1"]))
        wait_for("the swarm answers", lambda: head.ask("/health")[0] == 200)
        everything = shards_of(one)
        assert len(everything) > 0, "it fetched nothing"
        load = Load([head])
        two = join("n2")
        essaim("status", "--url", head.url, "--wait", "60", "--nodes", "2", "--ready")
        assert head.settled(["n1", "n2"]), head.membership()
        assert "2 of 3 nodes hold" in essaim("status", "--url", head.url, "--nodes", "3", ok=False)
        doctor = essaim("doctor", "--quick", "--registry", registry, "--keys", key, "--url", head.url)
        assert all(f"link.{machine.at}.round_trip" in doctor for machine in (one, two)), doctor
        mine = shards_of(two)
        assert 0 < len(mine) < len(everything), (len(mine), len(everything))

        # killed and started again without a token: it has what it had, and nothing is fetched anew
        two.stop(kill=True)
        before = {name: (two.home / "shards" / name).stat().st_mtime_ns for name in mine}
        two = Machine(home, "n2")
        running.append(two)
        wait_for("n2 is back", lambda: head.settled(["n1", "n2"]) and head.phases().get("n2") == "holds")
        assert before == {name: (two.home / "shards" / name).stat().st_mtime_ns for name in mine}

        # revoked: it is left alone, and the other takes over what it held
        assert "revoked" in essaim("revoke", "n2", "--registry", registry)
        wait_for("n1 holds all again", lambda: head.settled(["n1"]))
        assert head.phases().get("n2") in (None, "refused"), head.phases()
        assert shards_of(one) == everything
        seen = load.stop()
        for prompt, answer in seen.items():
            assert right.get(prompt, answer) == answer, (prompt, answer, right[prompt])
        assert set(seen) & set(right), "nothing was compared"

        # Tokens let machines in: they are in no log, at any level, not even in part
        said = "\n".join(line for program in running for line in program.said)
        for token in tokens:
            secret = token.split("@")[0]
            assert "joins at" in said and secret not in said and secret[:24] not in said and secret[24:] not in said, "a token in a log"
    except BaseException:
        for program in running:
            print(type(program).__name__, *program.said[-15:], sep="\n  ", file=sys.stderr)
        raise
    finally:
        for program in reversed(running):
            program.stop()
        shutil.rmtree(home)


if __name__ == "__main__":
    main()
