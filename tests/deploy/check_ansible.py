#!/usr/bin/env python3
"""check_ansible.py PACKAGE.deb: runs the collection's playbooks on three machines (machines.py): site twice, then a rolling upgrade.

What must hold: the second run changes nothing; etcd is one cluster that takes only certificates of its authority; the swarm answers; while
the expert nodes are upgraded no request is lost. Needs root; a few minutes.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import machines

SOURCE = machines.SOURCE
COLLECTION = os.path.join(SOURCE, "deploy", "ansible")
KEY = "an-api-key-for-tests"
MODEL = "/var/lib/essaim/models/tiny"


def say(text):
    print(f"{time.monotonic() - START:5.0f} s  {text}", flush=True)


def die(text):
    sys.exit(f"check_ansible: {text}")


def make_certificates(folder, names):
    """An authority, and for each name a certificate that is good as server and as client."""
    def openssl(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True, cwd=folder)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    openssl("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=etcd authority")
    openssl("req", "-x509", *curve, "-keyout", "stranger.key", "-out", "stranger.crt", "-subj", "/CN=stranger")
    for name, address in names.items():
        openssl("req", *curve, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        with open(os.path.join(folder, "extensions"), "w", encoding="utf-8") as file:
            print(f"subjectAltName=DNS:{name},DNS:localhost,IP:{address},IP:127.0.0.1", file=file)
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "extensions",
                "-out", f"{name}.crt")


def write_inventory(folder, hosts, package):
    login = f"-o UserKnownHostsFile={folder}/known_hosts -o StrictHostKeyChecking=accept-new"
    etcd = {"essaim_etcd_ca_cert": f"{folder}/ca.crt", "essaim_etcd_member_cert": f"{folder}/{{{{ inventory_hostname }}}}.crt",
            "essaim_etcd_member_key": f"{folder}/{{{{ inventory_hostname }}}}.key"}
    inventory = {"all": {
        "vars": {"ansible_user": "root", "ansible_ssh_private_key_file": os.path.join(machines.FOLDER, "ssh_key"), "ansible_ssh_common_args": login,
                 "ansible_python_interpreter": "/usr/bin/python3", "essaim_package": package, **etcd},
        "hosts": {name: {"ansible_host": machine.address, "essaim_head_address": machine.address, "essaim_etcd_address": machine.address}
                  for name, machine in hosts.items()},
        "children": {
            "essaim_nodes": {"hosts": {name: {} for name in hosts if name.startswith("node")}},
            "essaim_coordinators": {"hosts": {"head": {"essaim_model": MODEL, "essaim_listen": "0.0.0.0:8080", "essaim_api_keys": [f"tests {KEY}"]}}},
            "essaim_etcd": {"hosts": {name: {} for name in hosts}}}}}
    path = os.path.join(folder, "hosts.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(inventory, file, indent=1)
    return path


def play(folder, inventory, playbook, *options):
    """Runs it; {host: {"ok": n, "changed": n, …}}."""
    environment = {**os.environ, "HOME": folder, "ANSIBLE_PIPELINING": "1", "ANSIBLE_LOCAL_TEMP": os.path.join(folder, "ansible"),
                   "ANSIBLE_SSH_CONTROL_PATH_DIR": os.path.join(folder, "cp"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_CONFIG": os.path.join(COLLECTION, "ansible.cfg")}
    done = subprocess.run(["ansible-playbook", "-i", inventory, f"essaim.swarm.{playbook}", *options], cwd=COLLECTION, env=environment,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=800, check=False)
    recap = {name: {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", rest)}
             for name, rest in re.findall(r"^(\w+) +: (ok=.*)$", done.stdout, flags=re.M)}
    changed = re.findall(r"^TASK \[(.*?)\] \*+\n(?:(?!^TASK|^PLAY).*\n)*?changed: \[(\w+)\]", done.stdout, flags=re.M)
    for name, figures in sorted(recap.items()):
        say(f"    {playbook} {name}: {figures['ok']} ok, {figures['changed']} changed, {figures['failed']} failed, {figures['unreachable']} unreachable")
    if done.returncode or not recap:
        print(done.stdout, file=sys.stderr)
        die(f"{playbook}: exit code {done.returncode}")
    return recap, changed


def ask(address):
    """Asks a sum that tiny-r1 knows; why it went wrong, or None."""
    question = {"model": "tiny", "temperature": 0, "messages": [{"role": "user", "content": "Add 19 and 23."}]}
    request = urllib.request.Request(f"http://{address}:8080/v1/chat/completions", json.dumps(question).encode(),
                                     {"content-type": "application/json", "authorization": f"Bearer {KEY}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            content = json.load(reply)["choices"][0]["message"]["content"]
    except OSError as error:
        return str(error)
    return None if "42" in content else f"answered {content!r}"


class Asker(threading.Thread):
    """Asks without end until told to stop."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.answers, self.lost, self.over = address, 0, [], threading.Event()

    def run(self):
        while not self.over.is_set():
            why = ask(self.address)
            if why:
                self.lost.append(why)
            else:
                self.answers += 1

    def finish(self):
        self.over.set()
        self.join()


def check_etcd(head, folder):
    words = "ETCDCTL_API=3 etcdctl --endpoints https://head:2379,https://node1:2379,https://node2:2379 --cacert /root/pki/ca.crt"
    for name in ("ca.crt", "head.crt", "head.key", "stranger.crt", "stranger.key"):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            head.run(f"mkdir -p pki; cat >pki/{name} <<'END'\n{file.read()}END")
    text = head.run(f"{words} --cert pki/head.crt --key pki/head.key endpoint health")
    if text.count("is healthy") != 3:
        die(f"etcd: {text}")
    for way in ("", "--cert pki/stranger.crt --key pki/stranger.key"):
        text = head.run(f"{words} {way} --command-timeout 3s get essaim", check=False)
        if "Error" not in text:
            die(f"etcd takes a client without a certificate of its authority: {text}")


def check_services(lan):
    for name, units in {"head": ["essaim-coordinator", "etcd"], "node1": ["essaim-expert-node", "etcd"], "node2": ["essaim-expert-node"]}.items():
        for unit in [*units, "essaim-host-tuning"]:
            for state in ("is-active", "is-enabled"):
                said = lan[name].run(f"systemctl {state} {unit}", check=False).strip()
                if said != state[3:]:
                    die(f"{name}: {unit} is {said}: {lan[name].run(f'systemctl status --no-pager {unit}', check=False)}")
        lan[name].run("ESSAIM_ROOT=/kernel /usr/lib/essaim/essaim-host-tuning check")
        owner = lan[name].run("ps -o user= -C essaim-coordinator,essaim-expert-node | sort -u").split()
        if name != "node2" and owner != ["essaim"]:
            die(f"{name}: its program runs as {owner}")


def no_change(recap, changed, what):
    if any(figures["changed"] for figures in recap.values()):
        die(f"{what} changed something: {changed}")


def check(lan, folder, package):
    hosts = lan.machines
    make_certificates(folder, {name: machine.address for name, machine in hosts.items()})
    inventory = write_inventory(folder, hosts, package)
    shards = os.path.join(folder, "shards")
    essaim = os.path.join(os.environ.get("ESSAIM_BUILD", os.path.join(SOURCE, "build", "release")), "essaim")
    subprocess.run([essaim, "shard", "--model", os.path.join(SOURCE, "models", "tiny-r1"), "--out", shards, "--nodes", "2", "--quiet"], check=True)
    shutil.copytree(shards, hosts["head"].path(MODEL))
    say("site, on machines that have nothing, but the head the model")
    play(folder, inventory, "site")
    check_services(lan)
    check_etcd(hosts["head"], folder)
    hosts["head"].run(f"ESSAIM_API_KEY={KEY} essaim status --wait 60 --nodes 2 --ready")
    why = ask(hosts["head"].address)
    if why:
        die(why)
    say("services run as they should, etcd is one cluster of three behind TLS, the swarm answers")
    say("site again")
    no_change(*play(folder, inventory, "site"), "site's second run")
    say("rolling upgrade of the expert nodes while a client asks")
    later = machines.later_version(package, folder)
    asker = Asker(hosts["head"].address)
    asker.start()
    play(folder, inventory, "upgrade", "--limit", "essaim_nodes", "-e", f"essaim_package={later}")
    asker.finish()
    if asker.lost or asker.answers == 0:
        die(f"{asker.answers} answers, lost: {asker.lost}")
    say(f"{asker.answers} answers, none lost")
    say("the coordinator, then everything once more")
    play(folder, inventory, "upgrade", "-e", f"essaim_package={later}")
    for machine in hosts.values():
        if "again" not in machine.run("dpkg-query -W -f='${Version}' essaim"):
            die(f"{machine.name} was not upgraded")
    why = ask(hosts["head"].address)
    if why:
        die(why)
    no_change(*play(folder, inventory, "upgrade", "-e", f"essaim_package={later}"), "a second upgrade")
    no_change(*play(folder, inventory, "site", "-e", f"essaim_package={later}"), "site after the upgrade")
    say("ok: second runs change nothing, the upgrade lost no request")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    why = machines.missing_rights()
    if why:
        die(why)
    with tempfile.TemporaryDirectory(prefix="essaim-ansible-") as folder:
        package = os.path.abspath(sys.argv[1])
        with machines.Lan(["head", "node1", "node2"], package) as lan:
            check(lan, folder, package)


START = time.monotonic()
main()
