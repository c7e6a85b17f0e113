#!/bin/bash
# shellcheck disable=SC2016  # texts for another shell or program stand in single quotes
# check_package.sh PACKAGE.deb: installs it in a fresh Debian 12 (debootstrap), lets the units' own commands answer a question, upgrades,
# removes and purges, and says what is left. Needs root and Debian's packages; takes a few minutes.
set -euo pipefail

package=${1:?usage: check_package.sh PACKAGE.deb}
here=$(dirname "$(readlink -f "$0")")
root=$(mktemp -d "${TMPDIR:-/tmp}/essaim-chroot.XXXXXX")
chmod 0755 "$root" # or its own users could not enter it

say() { printf '%s\n' "$*"; }
die() {
    say "check_package: $*" >&2
    exit 1
}
inside() { chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive "$@"; }

clean_up() {
    local pids=()
    mapfile -t pids < <(for p in /proc/[0-9]*; do [[ $(readlink "$p/root" 2>/dev/null) == "$root" ]] && echo "${p#/proc/}"; done)
    ((${#pids[@]} == 0)) || kill -KILL "${pids[@]}" 2>/dev/null || true
    umount "$root/proc" 2>/dev/null || true
    rm -rf --one-file-system "$root"
}
trap clean_up EXIT

# The archive that this machine uses itself.
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 -E '/debian/?$')
sources=(/etc/apt/sources.list /etc/apt/sources.list.d/*.sources)

# A unit's command, as systemd would run it: its environment file, its user.
unit_command() {
    local unit=$1 instance=$2 line env_file
    line=$(sed -n "s/%i/$instance/g; s/^ExecStart=//p" "$root/lib/systemd/system/$unit")
    env_file=$(sed -n "s/%i/$instance/g; s/^EnvironmentFile=-*//p" "$root/lib/systemd/system/$unit")
    inside setpriv --reuid essaim --regid essaim --init-groups /bin/sh -c \
        '[ ! -e "$1" ] || . "$1"; command=$2; set -f; eval "exec $command"' sh "$env_file" "$line"
}

wait_until() {
    local deadline=$((SECONDS + 60))
    until python3 "$here/ask.py" "$1" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || return 1
        sleep 0.2
    done
}

say "a fresh Debian 12"
debootstrap --variant=minbase bookworm "$root" "$mirror" >"$root.log" 2>&1 || die "debootstrap: $(tail -n 3 "$root.log")"
rm -f "$root.log"
rm -f "$root/etc/apt/sources.list"
for file in "${sources[@]}"; do [[ -e $file ]] && cp "$file" "$root${file}"; done
find /etc/apt/apt.conf.d -maxdepth 1 -type f -newermt 2000-01-01 \( -name '*registry*' -o -name '*proxy*' \) -exec cp {} "$root/etc/apt/apt.conf.d/" \;
mount -t proc proc "$root/proc"
cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null || true

say "install"
cp "$package" "$root/essaim.deb"
inside apt-get update -qq 2>/dev/null
inside apt-get install -y -qq --no-install-recommends /essaim.deb >"$root/install.log" 2>&1 || die "install: $(tail -n 5 "$root/install.log")"
inside getent passwd essaim >/dev/null || die "no user essaim"

say "configure: shards, keys, a registry, and a machine that joins"
inside /bin/sh -ec '
essaim shard --model /usr/share/essaim/models/tiny-r1 --out /var/lib/essaim/models/first --nodes 1 --quiet >/dev/null
essaim keygen /etc/essaim/head.key >/dev/null 2>&1
echo "ESSAIM_OPTIONS=\"--model /var/lib/essaim/models/first --registry /var/lib/essaim/registry --keys /etc/essaim/head.key --join-listen 127.0.0.1:15710 --listen 127.0.0.1:18080\"" >/etc/essaim/coordinator.env
chown essaim:essaim /etc/essaim/head.key
chmod 0640 /etc/essaim/coordinator.env && chgrp essaim /etc/essaim/coordinator.env
'

# What systemd does beside: the state folder is the user's.
join() {
    inside /bin/sh -ec '
    token=$(essaim token --registry /var/lib/essaim/registry --keys /etc/essaim/head.key --at 127.0.0.1:15710 2>/dev/null)
    essaim join "$token" --dir /var/lib/essaim/node --name one --listen 127.0.0.1:15700 --memory 1G --prepare 2>/dev/null
    chown -R essaim:essaim /var/lib/essaim/node'
}

ask_of_units() {
    unit_command essaim-coordinator.service '' >"$root/coordinator.log" 2>&1 &
    wait_until waits || die "it does not wait for nodes: $(cat "$root/coordinator.log")"
    [[ -e $root/var/lib/essaim/node/node.json ]] || join || die "no join: $(cat "$root/coordinator.log")"
    unit_command essaim-expert-node.service '' >"$root/node.log" 2>&1 &
    wait_until health || die "not ready within a minute: $(cat "$root/node.log" "$root/coordinator.log")"
    python3 "$here/ask.py" question || die "no right answer: $(cat "$root/coordinator.log")"
    local pids=()
    mapfile -t pids < <(for p in /proc/[0-9]*; do [[ $(readlink "$p/root" 2>/dev/null) == "$root" ]] && echo "${p#/proc/}"; done)
    kill -TERM "${pids[@]}" 2>/dev/null || true
    wait
}

say "the units' commands answer a question"
ask_of_units

say "upgrade: the same files under a later version"
mkdir "$root/repack" && dpkg-deb -R "$package" "$root/repack"
sed -i 's/^Version: .*/&+again/' "$root/repack/DEBIAN/control"
dpkg-deb -b "$root/repack" "$root/later.deb" >/dev/null
inside dpkg -i /later.deb >"$root/upgrade.log" 2>&1 || die "upgrade: $(cat "$root/upgrade.log")"
inside dpkg-query -W -f='${Version}' essaim | grep -q again || die "the later version is not installed"
ask_of_units

say "remove and purge; models are their owner's to remove"
rm -r "$root/var/lib/essaim/models/first"
inside dpkg --remove essaim >/dev/null
inside dpkg --purge essaim >/dev/null 2>"$root/purge.log" || die "purge: $(cat "$root/purge.log")"
left=$(cd "$root" && find . -path ./proc -prune -o -path ./repack -prune -o -ipath '*essaim*' ! -type d -print | grep -v -e '^./essaim.deb$' -e '/var/lib/apt' | sort)
extra=$(printf '%s\n' "$left" | grep -vE '^./etc/essaim/|^./var/lib/essaim/node/(node.key|node.key.pub|node.json|allow|revoked)$' || true)
[[ -z $extra ]] || die "purge left: $extra"
[[ -e $root/etc/essaim/head.key && -e $root/var/lib/essaim/node/node.key ]] || die "purge took the keys"
say "ok: installed, answered, upgraded, answered, purged; configuration and keys stay"
