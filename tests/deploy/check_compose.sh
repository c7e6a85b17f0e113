#!/bin/bash
# shellcheck disable=SC2016  # texts for another shell or program stand in single quotes
# check_compose.sh PACKAGE.deb: makes the image with the Containerfile's last stage, on a base that debootstrap made, and lets docker-compose
# bring deploy/container/compose.yaml up on Podman's engine: four nodes join, a question is answered; again after everything was taken down
# and came back from its volumes, and after a node was killed. All in a network of its own. Needs root; takes two minutes.
set -euo pipefail

package=$(readlink -f "${1:?usage: check_compose.sh PACKAGE.deb}")
project=$(dirname "$package")/../..
if [[ ${ESSAIM_COMPOSE:-} == '' ]]; then
    work=$(mktemp -d "${TMPDIR:-/tmp}/essaim-compose.XXXXXX")
    chmod 0755 "$work"
    trap 'rm -rf --one-file-system "$work"' EXIT
else
    work=$ESSAIM_COMPOSE
fi
export CONTAINERS_CONF=$work/containers.conf COMPOSE_PROJECT_NAME=essaim DOCKER_HOST=unix://$work/engine
export ESSAIM_SHARDS=$work/shards ESSAIM_API_KEYS=$work/api-keys ESSAIM_NODE_MEMORY=1G ESSAIM_API_KEY=sk-compose-$RANDOM-$RANDOM

say() { printf '%s\n' "$*"; }
die() {
    say "check_compose: $*" >&2
    exit 1
}
engine() { podman --root "$work/storage" --runroot "$work/run" --storage-driver overlay --cgroup-manager cgroupfs "$@"; }
compose() { timeout 120 docker-compose -f "$work/compose.yaml" "$@" >>"$work/compose.log" 2>&1 || die "docker-compose $*: $(tail -n 3 "$work/compose.log")"; }

make_image() {
    local mirror base=$work/base
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -m1 -E '/debian/?$')
    debootstrap --variant=minbase --include=ca-certificates bookworm "$base" "$mirror" >"$work/log" 2>&1 || die "debootstrap: $(tail -n 3 "$work/log")"
    rm -f "$base/etc/apt/sources.list"
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.sources; do [[ -e $file ]] && cp "$file" "$base$file"; done
    find /etc/apt/apt.conf.d -maxdepth 1 -type f \( -name '*registry*' -o -name '*proxy*' \) -exec cp {} "$base/etc/apt/apt.conf.d/" \;
    tar -C "$base" -c . | engine import - docker.io/library/debian:12-slim >"$work/log" 2>&1 || die "import: $(tail -n 3 "$work/log")"
    rm -rf --one-file-system "$base"
    # The first stage only makes the package, which is here already.
    mkdir "$work/context"
    cp "$package" "$work/context/essaim.deb"
    {
        printf 'FROM scratch AS build\nCOPY essaim.deb /essaim.deb\n'
        sed -n '/^FROM docker.io\/library\/debian:12-slim$/,$p' "$project/deploy/container/Containerfile"
    } >"$work/context/Containerfile"
    engine build --isolation chroot --network host -t essaim "$work/context" >"$work/log" 2>&1 || die "build: $(tail -n 3 "$work/log")"
}

# Where this machine lets nobody raise limits, the file's own are left out.
choose_runtime() {
    printf '[engine]\nruntime = "runc"\n[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "%s"\n' "$work/networks" >"$CONTAINERS_CONF"
    if prlimit --nofile=1048576:1048576 --memlock=unlimited:unlimited true 2>/dev/null; then return; fi
    say "limits cannot be raised here: the file's ulimits are not tried"
    cat >"$work/runtime" <<'WRAPPER'
#!/usr/bin/python3
import json, os, sys
words = sys.argv[1:]
for option, inner in (("--bundle", "config.json"), ("--process", "")):
    if option in words:
        path = os.path.join(words[words.index(option) + 1], inner).rstrip("/")
        with open(path, encoding="utf-8") as file:
            config = json.load(file)
        config.get("process", config).pop("rlimits", None)
        config.get("process", config).pop("oomScoreAdj", None)
        with open(path, "w", encoding="utf-8") as file:
            json.dump(config, file)
os.execvp("runc", ["runc", *words])
WRAPPER
    chmod +x "$work/runtime"
    printf '[engine]\nruntime = "limited"\n[engine.runtimes]\nlimited = ["%s"]\n[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "%s"\n' "$work/runtime" "$work/networks" >"$CONTAINERS_CONF"
}

# All four are ready, and the sum is right.
check_answer() {
    local deadline=$((SECONDS + 60)) said
    until said=$(engine exec -e ESSAIM_API_KEY="$ESSAIM_API_KEY" essaim_coordinator_1 essaim status --nodes 4 --ready 2>&1); do
        ((SECONDS < deadline)) || die "$1: $said; $(engine logs --tail 3 essaim_node1_1 2>&1)"
        sleep 0.5
    done
    said=$(curl -sS -m 30 http://127.0.0.1:8080/v1/chat/completions -H "Authorization: Bearer $ESSAIM_API_KEY" -H 'Content-Type: application/json' \
        -d '{"messages": [{"role": "user", "content": "Add 15 and 27."}], "temperature": 0}')
    [[ $said == *'15 + 27 = 42'* ]] || die "$1: $said"
    say "$1: four nodes are ready, and the answer is right"
}

run_compose() {
    ip link set lo up
    mount -t tmpfs none /run
    engine system service --time=0 "$DOCKER_HOST" >"$work/engine.log" 2>&1 &
    for _ in {1..100}; do [[ -S $work/engine ]] || sleep 0.1; done
    compose up -d --no-build
    check_answer 'joined'
    engine kill essaim_node2_1 >/dev/null
    compose start node2
    check_answer 'a node was killed'
    compose down
    compose up -d --no-build
    check_answer 'all came back from their volumes'
    compose down -v
}

if [[ ${ESSAIM_COMPOSE:-} != '' ]]; then
    ESSAIM_API_KEY=$(cut -d' ' -f2 "$ESSAIM_API_KEYS")
    run_compose
    exit
fi
choose_runtime
say "the image"
make_image
dpkg-deb --fsys-tarfile "$package" | tar -C "$work" -x ./usr
"$work/usr/bin/essaim" shard --model "$work/usr/share/essaim/models/tiny-r1" --out "$work/shards" --nodes 1 --quiet >"$work/log"
chmod -R a+rX "$work/shards"
(umask 077 && echo "me $ESSAIM_API_KEY" >"$ESSAIM_API_KEYS")
sed '/^name:/d' "$project/deploy/container/compose.yaml" >"$work/compose.yaml" # Debian's docker-compose does not know a project's name yet
# Whatever an engine leaves running ends with this.
ESSAIM_COMPOSE=$work unshare --mount --net --pid --fork --mount-proc --kill-child "$0" "$package"
