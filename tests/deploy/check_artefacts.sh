#!/bin/bash
# shellcheck disable=SC2317  # functions are called by name
# check_artefacts.sh: each file of deploy/ is held against its own field's tool; a line for each check.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.." || exit 1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0

# check NAME COMMAND…: quiet when it passes.
check() {
    local name=$1
    shift
    if "$@" >"$scratch/log" 2>&1; then
        printf 'ok      %s\n' "$name"
    else
        printf 'FAILED  %s\n' "$name"
        cat "$scratch/log" >&2
        failed=$((failed + 1))
    fi
}

# The programs are not installed here: that a unit's command exists is not this check's.
units() {
    systemd-analyze verify --man=no deploy/systemd/*.service deploy/systemd/*.timer 2>&1 | grep -v 'is not executable: No such file' >"$scratch/units"
    cat "$scratch/units"
    [[ ! -s $scratch/units ]]
}

# Exposure of the long-running services, by systemd's own measure: at most 1.5 of 10.
exposure() {
    local unit level
    for unit in deploy/systemd/essaim-coordinator.service deploy/systemd/essaim-expert-node*.service; do
        level=$(systemd-analyze security --offline=true "$unit" 2>/dev/null | grep -oE 'service: [0-9.]+' | grep -oE '[0-9.]+')
        echo "$unit: ${level:-unknown}"
        awk -v level="${level:-10}" 'BEGIN { exit level > 1.5 }' || return 1
    done
}

ansible() { (cd deploy/ansible && ansible-lint -q --offline && ansible-playbook --syntax-check essaim.swarm.site && ansible-playbook --syntax-check essaim.swarm.upgrade); }

# Node's packages are installed once, into build/npm.
node_check() { ESSAIM_BUILD=${ESSAIM_BUILD:-$PWD/build/release} python3 tests/clients/npm_test.py tests/deploy/checks "$@"; }

kubernetes() {
    local overlay files=()
    for overlay in deploy/kubernetes/overlays/*/; do
        files+=("$scratch/$(basename "$overlay").yaml")
        kubectl kustomize "$overlay" >"${files[-1]}" || return 1
    done
    node_check manifests "${files[@]}"
}

markdown() {
    local pages=()
    mapfile -t pages < <(git ls-files -co --exclude-standard '*.md' | sed "s|^|$PWD/|")
    node_check markdown "${pages[@]}"
}

# This version of the tool does not know a project's name yet.
compose() { sed '/^name:/d' deploy/container/compose.yaml | ESSAIM_SHARDS=/srv ESSAIM_API_KEYS=/dev/null docker-compose --project-directory deploy/container -f - config --quiet; }

# On a tree of its own: check says what to change, apply changes it, revert puts it back.
host_tuning() {
    local tree=$scratch/tree tool=deploy/host/essaim-host-tuning
    mkdir -p "$tree/proc/sys/vm" "$tree/sys/kernel/mm/transparent_hugepage"
    echo 60 >"$tree/proc/sys/vm/swappiness"
    echo 'always [never] madvise' >"$tree/sys/kernel/mm/transparent_hugepage/enabled"
    ESSAIM_ROOT=$tree "$tool" check && return 1
    ESSAIM_ROOT=$tree "$tool" apply && ESSAIM_ROOT=$tree "$tool" check && ESSAIM_ROOT=$tree "$tool" apply || return 1
    [[ $(<"$tree/proc/sys/vm/swappiness") == 1 ]] || return 1
    ESSAIM_ROOT=$tree "$tool" revert && [[ $(<"$tree/proc/sys/vm/swappiness") == 60 ]] || return 1
    [[ $(<"$tree/sys/kernel/mm/transparent_hugepage/enabled") == never ]]
}

check 'systemd units' units
check 'exposure of the services' exposure
check 'YAML' yamllint -c .yamllint deploy
check 'shell scripts' shellcheck deploy/host/essaim-host-tuning deploy/etc/etcd-snapshot deploy/etc/etcd-restore deploy/package/p* tests/deploy/*.sh
check 'host tuning' host_tuning
check 'firewall' nft -c -f deploy/nftables/essaim.nft
check 'Prometheus configuration' promtool check config deploy/prometheus/scrape.yml
check 'Prometheus rules' promtool check rules deploy/prometheus/recording.yml deploy/prometheus/alerts.yml
check 'Prometheus alerts' promtool test rules deploy/prometheus/alerts_test.yml
check 'dashboard' python3 deploy/grafana/make_dashboard.py --check
check 'Ansible collection' ansible
check 'Kubernetes manifests' kubernetes
check 'Compose file' compose
check 'Markdown pages' markdown
check 'links' python3 tests/deploy/check_links.py
check 'options and ports' python3 tests/deploy/check_options.py
exit "$((failed > 0))"
