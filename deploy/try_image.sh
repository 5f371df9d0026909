#!/usr/bin/env bash
# Build the image and try it, where there is neither Docker nor a registry: as root, on Debian.
#   apt-get install buildah debootstrap iproute2
#   deploy/try_image.sh [FOLDER]   FOLDER keeps the base and the image for the next time; 5 GB, a quarter of an hour.
# The base is made of Debian's packages. The containers are made with `unshare`: namespaces of their own for processes,
# mounts and network, user 10001, a read-only root. Only loopback is there, so each finds all it needs in the image.
set -euo pipefail
ROOT=$(cd "$(dirname "$0")/.." && pwd)
WORK=${1:-$(mktemp --directory --tmpdir=/var/tmp)}
mkdir -p "$WORK"
TAG=localhost/bms-pipeline:tried
buildah() { command buildah --root "$WORK/storage" --runroot "$WORK/run" --storage-driver vfs "$@"; }
step() { printf '\n== %s\n' "$*"; }

made_base() {
    [ -e "$WORK/base/bin/true" ] && return
    step "Base: Debian's Python"
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head --lines 1)
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv bookworm "$WORK/base.part" "$mirror"
    mv "$WORK/base.part" "$WORK/base"
}

built_image() {
    step "Image: deploy/Dockerfile"
    printf 'FROM scratch\nCOPY . /\n' >"$WORK/Base"
    buildah bud --isolation chroot --quiet --tag localhost/base:1.0.0-debian --file "$WORK/Base" "$WORK/base"
    # Packages come from the index that pip has here, with the certificates of this machine.
    volumes=()
    for path in /etc/pip.conf "$HOME/.config/pip" /etc/ssl/certs; do
        [ -e "$path" ] && volumes+=(--volume "$path:${path/#$HOME/\/root}:ro")
    done
    buildah bud --isolation chroot --build-arg BASE=localhost/base:1.0.0-debian "${volumes[@]}" \
        --tag "$TAG" --file "$ROOT/deploy/Dockerfile" "$ROOT"
    buildah images
}

# Run a command of the image as a container would: contained VOLUME COMMAND ...
contained() {
    unshare --mount --pid --fork --net --ipc --uts --kill-child bash -euc '
        root=$1 volume=$2; shift 2
        ip link set lo up
        mount --bind "$root" "$root"
        mount --bind "$volume" "$root/var/lib/bms-pipeline"
        mount -t tmpfs -o mode=1777,nosuid,nodev tmp "$root/tmp"
        mount -t tmpfs -o mode=755,nosuid dev "$root/dev"
        for name in null zero urandom; do touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
        mkdir --mode 1777 "$root/dev/shm"
        mount -t proc proc "$root/proc"
        mount -o remount,bind,ro "$root"
        exec chroot "$root" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs \
            --bounding-set=-all --inh-caps=-all env --ignore-environment --chdir=/var/lib/bms-pipeline \
            PATH=/opt/bms-pipeline/bin:/usr/bin:/bin PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 "$@"
    ' container "$MOUNTED" "$@"
}

tried() {
    volume=$WORK/volume
    rm -rf "$volume"
    install --directory --owner 10001 --group 10001 --mode 0700 "$volume"
    CONTAINER=$(buildah from "$TAG")
    trap 'buildah rm "$CONTAINER" >/dev/null' EXIT
    MOUNTED=$(buildah mount "$CONTAINER")

    step "Who it is, and what it may write"
    buildah inspect --type image --format 'user {{.OCIv1.Config.User}}, folder {{.OCIv1.Config.WorkingDir}}' "$TAG"
    contained "$volume" sh -c 'test "$(id -u)" = 10001 && ! touch /opt/bms-pipeline/x 2>/dev/null && touch x && rm x && echo "its folder only"'
    contained "$volume" sh -c '! python3 -m pip --version 2>/dev/null && test -z "$(find / -xdev -perm -4000 -user root -writable 2>/dev/null)"'

    step "init"
    contained "$volume" bms-pipeline init
    contained "$volume" bms-pipeline init | grep --count "which is as shipped"

    step "sync, twice: the second plans nothing"
    sandbox=(bms-pipeline sandbox run --size small --calls-per-hour 15000 --)
    contained "$volume" "${sandbox[@]}" bms-pipeline sync --create-unmatched
    contained "$volume" "${sandbox[@]}" bms-pipeline sync

    step "dev: pages, daemon and console, all at work"
    contained "$volume" "${sandbox[@]}" python3 - <"$ROOT/deploy/try_dev.py"
    step "All of it worked."
}

made_base
built_image
tried
