"""Machines: a Debian 12 each, with systemd as its first process, on a LAN of network namespaces.

A machine is a writable layer over one tree that debootstrap made, in namespaces of its own (network, processes, mounts, name, IPC,
control groups): to whoever is on it, a small server that has just been installed. The kernel is this machine's and not a machine's to
change: host tuning there works on a copy of its settings, in /kernel. Everything ends with the machine's first process. Needs root,
overlayfs and a cgroup2 that is mounted.
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "fault"))
import lan  # noqa: E402

SOURCE = os.path.abspath(os.path.join(HERE, "..", ".."))
FOLDER = os.path.join(SOURCE, "build", "machines")
BASE = os.path.join(FOLDER, "base")
INCLUDE = "systemd,systemd-sysv,libpam-systemd,dbus,adduser,ca-certificates,curl,iproute2,openssh-server,openssh-client,python3,python3-apt,rsync"
# Hardware, clocks and kernel settings belong to the machine underneath.
MASKED = ("systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service systemd-sysctl.service "
          "systemd-modules-load.service systemd-remount-fs.service systemd-binfmt.service systemd-random-seed.service systemd-timesyncd.service "
          "systemd-firstboot.service dev-hugepages.mount dev-mqueue.mount sys-kernel-config.mount sys-kernel-debug.mount sys-kernel-tracing.mount "
          "sys-fs-fuse-connections.mount getty.target console-getty.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer "
          "e2scrub_all.timer fstrim.timer systemd-networkd-wait-online.service ifupdown-wait-online.service").split()
# What a fresh Debian has of what host tuning changes.
SETTINGS = {"/proc/sys/vm/swappiness": "60", "/proc/sys/vm/max_map_count": "65530", "/proc/sys/kernel/numa_balancing": "1",
            "/proc/sys/net/core/rmem_max": "212992", "/proc/sys/net/core/wmem_max": "212992", "/proc/sys/net/core/somaxconn": "4096",
            "/proc/sys/net/ipv4/tcp_slow_start_after_idle": "1", "/sys/kernel/mm/transparent_hugepage/enabled": "always [never] madvise"}

BOOT = r"""
set -eu
root=$1 base=$2 layer=$3 name=$4
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$base,upperdir=$layer/upper,workdir=$layer/work" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount -t tmpfs -o mode=0755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for node in null zero full random urandom tty; do
    : >"$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
ln -s null "$root/dev/console"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
hostname "$name"
cd "$root"
mkdir -p old
pivot_root . old
exec chroot . /bin/sh -ec 'umount -l /old; rmdir /old; exec env -i container=essaim PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --log-target=journal --show-status=no' </dev/null >/dev/null 2>&1
"""


def missing_rights():
    """Why there can be no machines here, or None."""
    why = lan.missing_rights()
    if why:
        return why
    for tool in ("debootstrap", "ssh", "ssh-keygen", "pivot_root"):
        if shutil.which(tool) is None:
            return f"the command {tool} is missing"
    if cgroup2() is None:
        return "no cgroup2 is mounted"
    return None


def cgroup2():
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        for line in mounts:
            words = line.split()
            if words[2] == "cgroup2":
                return words[1]
    return None


def in_tree(tree, *words, **more):
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
    return subprocess.run(["chroot", tree, *words], env=environment, check=True, capture_output=True, text=True, **more)


def make_base(package):
    """The tree that all machines share: made once, kept in build/. Archives that the package and the etcd role need lie in apt's cache:
    the machines' LAN leads nowhere else."""
    done = os.path.join(FOLDER, "base.done")
    wanted = f"{INCLUDE}\n{' '.join(MASKED)}\n"
    if os.path.exists(done):
        with open(done, encoding="utf-8") as file:
            if file.read() == wanted:
                return
        os.unlink(done)
    shutil.rmtree(BASE, ignore_errors=True)
    os.makedirs(FOLDER, exist_ok=True)
    mirror = subprocess.run("apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 -E '/debian/?$'", shell=True, check=True,
                            capture_output=True, text=True).stdout.strip()
    with open(os.path.join(FOLDER, "debootstrap.log"), "w", encoding="utf-8") as log:
        subprocess.run(["debootstrap", "--variant=minbase", f"--include={INCLUDE}", "bookworm", BASE, mirror], check=True, stdout=log, stderr=log)
    prepare_base(package)
    with open(done, "w", encoding="utf-8") as file:
        file.write(wanted)


def prepare_base(package):
    units = os.path.join(BASE, "etc/systemd/system")
    for unit in MASKED:
        link = os.path.join(units, unit)
        if not os.path.lexists(link):
            os.symlink("/dev/null", link)
    tuning = os.path.join(units, "essaim-host-tuning.service.d")
    os.makedirs(tuning, exist_ok=True)
    with open(os.path.join(tuning, "copy.conf"), "w", encoding="utf-8") as file:
        print("[Service]\nEnvironment=ESSAIM_ROOT=/kernel", file=file)
    shutil.copy(package, os.path.join(BASE, "root/essaim.deb"))
    os.makedirs(os.path.join(BASE, "root/.ssh"), mode=0o700, exist_ok=True)
    in_tree(BASE, "apt-get", "update", "-qq")
    in_tree(BASE, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "--download-only", "/root/essaim.deb", "etcd-server", "etcd-client")
    os.unlink(os.path.join(BASE, "root/essaim.deb"))
    key = os.path.join(FOLDER, "ssh_key")
    if not os.path.exists(key):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", key], check=True)
    shutil.copy(f"{key}.pub", os.path.join(BASE, "root/.ssh/authorized_keys"))


def later_version(package, folder):
    """The same files under a later version."""
    tree = os.path.join(folder, "repack")
    subprocess.run(["dpkg-deb", "-R", package, tree], check=True)
    control = os.path.join(tree, "DEBIAN", "control")
    with open(control, encoding="utf-8") as file:
        text = file.read()
    with open(control, "w", encoding="utf-8") as file:
        file.write(re.sub(r"^(Version: .*)$", r"\1+again", text, flags=re.M))
    later = os.path.join(folder, "later.deb")
    subprocess.run(["dpkg-deb", "-b", tree, later], check=True, capture_output=True)
    return later


class Machine:
    """A Debian with an address; names: {name: address} of all machines, for /etc/hosts. cable: its link can be shaped."""

    def __init__(self, name, number, names, cable_program=None):
        self.name, self.host = name, lan.Host(number, cable_program)
        self.address = self.host.address
        self.layer = os.path.join(FOLDER, f"{name}.{os.getpid()}")
        self.group = os.path.join(cgroup2(), f"essaim-{name}-{os.getpid()}")
        self._make_layer(names)
        os.mkdir(self.group)
        root = os.path.join(self.layer, "root")
        start = ["sh", "-c", 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"', "sh", self.group]
        spaces = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork", "--kill-child=KILL"]
        self.log = open(os.path.join(self.layer, "boot.log"), "wb")
        self.popen = subprocess.Popen([*start, *self.host.command(*spaces, "sh", "-c", BOOT, "sh", root, BASE, self.layer, name)],
                                      stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.init = self._first_process()

    def _make_layer(self, names):
        for folder in ("upper/etc", "work", "root"):
            os.makedirs(os.path.join(self.layer, folder))
        os.chmod(os.path.join(self.layer, "upper"), 0o755)
        with open(os.path.join(self.layer, "upper/etc/hostname"), "w", encoding="utf-8") as file:
            print(self.name, file=file)
        with open(os.path.join(self.layer, "upper/etc/hosts"), "w", encoding="utf-8") as file:
            print("127.0.0.1 localhost", file=file)
            for name, address in names.items():
                print(address, name, file=file)
        for path, value in SETTINGS.items():
            there = f"{self.layer}/upper/kernel{path}"
            os.makedirs(os.path.dirname(there), exist_ok=True)
            with open(there, "w", encoding="utf-8") as file:
                print(value, file=file)

    def _first_process(self):
        end = time.monotonic() + 20
        while time.monotonic() < end and self.popen.poll() is None:
            with open(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children", encoding="utf-8") as file:
                children = file.read().split()
            if children and os.path.exists(f"/proc/{children[0]}/exe") and os.readlink(f"/proc/{children[0]}/exe").endswith("/systemd"):
                return int(children[0])
            time.sleep(0.05)
        raise RuntimeError(f"{self.name} does not start: {self.boot_log()}")

    def boot_log(self):
        with open(os.path.join(self.layer, "boot.log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def path(self, there):
        """A path on the machine, as this process sees it."""
        return f"/proc/{self.init}/root{there}"

    def command(self, *words):
        """words, to be run on the machine."""
        environment = ["env", "-i", "--chdir=/root", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "TERM=dumb", "LANG=C.UTF-8"]
        return ["nsenter", "-t", str(self.init), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", *environment, *words]

    def run(self, text, check=True, timeout=120):
        """A line for the machine's shell; what it printed, on both outputs."""
        done = subprocess.run(self.command("/bin/bash", "-c", text), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=timeout, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{self.name}: {text}: exit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def wait_until_up(self, seconds=60):
        """Until systemd has started what it starts; "degraded" tells which unit failed."""
        end = time.monotonic() + seconds
        state = ""
        while state not in ("running", "degraded") and time.monotonic() < end:
            time.sleep(0.1)
            state = self.run("systemctl is-system-running", check=False).strip()
        if state != "running":
            raise RuntimeError(f"{self.name} is {state}: {self.failures()}")

    def failures(self):
        """What its service manager says of units that are not well."""
        return self.run("for unit in $(systemctl list-units --state failed,activating --no-legend --plain | cut -d' ' -f1); do "
                        "systemctl status --no-pager -l -n 20 $unit; done", check=False)

    def close(self):
        try:
            os.kill(self.init, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.popen.wait()
        self.log.close()
        self.host.close()
        end = time.monotonic() + 10
        while os.path.exists(self.group) and time.monotonic() < end:
            for folder, _, _ in os.walk(self.group, topdown=False):
                try:
                    os.rmdir(folder)
                except OSError:
                    time.sleep(0.05)
        shutil.rmtree(self.layer, ignore_errors=True)


class Lan:
    """Machines of these names, started; 10.77.0.11 and on. Use it with `with`."""

    def __init__(self, names, package):
        make_base(package)
        lan.enter()
        addresses = {name: f"{lan.NETWORK}.{11 + n}" for n, name in enumerate(names)}
        self.machines = {}
        try:
            for n, name in enumerate(names):
                self.machines[name] = Machine(name, 11 + n, addresses)
            for machine in self.machines.values():
                machine.wait_until_up()
        except BaseException:
            self.close()
            raise

    def __getitem__(self, name):
        return self.machines[name]

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            for machine in self.machines.values():
                print(f"{machine.name}: {machine.failures()}", file=sys.stderr)
        self.close()

    def close(self):
        for machine in self.machines.values():
            machine.close()
