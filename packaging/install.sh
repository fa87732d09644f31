#!/bin/sh
# Installs hoist from the directory that this script is in. Needs no network.
set -eu

usage() {
    cat <<'TEXT'
Usage: ./install.sh [--no-start] [--docker]
       ./install.sh --uninstall

Installs the programs to /usr/bin and /usr/libexec/hoist, and the systemd units,
and starts the daemon. A second run upgrades; containers go on meanwhile.

  --no-start    only copy files
  --docker      also provide /usr/bin/docker and /run/docker.sock
  --uninstall   stop the containers and remove what was installed;
                images, containers and volumes stay in /var/lib/hoist
TEXT
}

say() { echo "hoist: $*"; }
fail() {
    echo "hoist: $*" >&2
    exit 1
}

here=$(cd "$(dirname "$0")" && pwd)
start=yes
docker=no
uninstall=no
for argument; do
    case $argument in
    --no-start) start=no ;;
    --docker) docker=yes ;;
    --uninstall) uninstall=yes ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
done

[ "$(id -u)" = 0 ] || fail "this needs root: run it with sudo"
[ -d "$here/root" ] || fail "$here/root is missing: run this where the archive was unpacked"
systemd=no
[ -d /run/systemd/system ] && systemd=yes
units="hoistd.socket hoistd.service hoist-shutdown.service"

if command -v dpkg-query >/dev/null && dpkg-query -W -f '${Status}' hoist 2>/dev/null | grep -q ' installed'; then
    fail "hoist is installed as a Debian package: use apt-get"
fi

if [ "$uninstall" = yes ]; then
    if [ "$systemd" = yes ]; then
        for unit in hoist-shutdown.service hoistd.socket hoistd.service hoist-containers.service; do
            systemctl stop "$unit" 2>/dev/null || true
        done
        # shellcheck disable=SC2086
        systemctl disable --quiet $units 2>/dev/null || true
    fi
    (cd "$here/root" && find . -type f -o -type l) | while read -r file; do rm -f "/$file"; done
    rmdir /usr/libexec/hoist /etc/hoist 2>/dev/null || true
    if [ "$(readlink /usr/bin/docker || true)" = hoist ]; then
        rm -f /usr/bin/docker /usr/lib/tmpfiles.d/hoist-docker.conf
        [ "$(readlink /run/docker.sock || true)" != hoist.sock ] || rm -f /run/docker.sock
    fi
    [ "$systemd" = no ] || systemctl daemon-reload
    say "removed; images, containers and volumes are left in /var/lib/hoist"
    exit 0
fi

if [ "$docker" = yes ] && [ -e /usr/bin/docker ] && [ "$(readlink /usr/bin/docker || true)" != hoist ]; then
    fail "/usr/bin/docker is there already, of another package; nothing was installed"
fi
upgrade=no
[ -x /usr/bin/hoistd ] && upgrade=yes
(cd "$here/root" && find . -type d) | while read -r directory; do mkdir -p "/$directory"; done
# Each file is complete before it has its name: programs that run keep theirs.
(cd "$here/root" && find . -type f) | while read -r file; do
    cp -p "$here/root/$file" "/$file.hoist-new"
    chown root:root "/$file.hoist-new"
    mv -f "/$file.hoist-new" "/$file"
done
if [ "$docker" = yes ]; then
    ln -sf hoist /usr/bin/docker
    echo 'L /run/docker.sock - - - - hoist.sock' >/usr/lib/tmpfiles.d/hoist-docker.conf
    [ -e /run/docker.sock ] || ln -sf hoist.sock /run/docker.sock
fi
if ! grep -q '^hoist:' /etc/group; then
    if command -v groupadd >/dev/null; then groupadd --system hoist; else addgroup -S hoist; fi
fi
if [ "$systemd" = yes ]; then
    systemctl daemon-reload
    # shellcheck disable=SC2086
    [ "$upgrade" = yes ] || systemctl enable --quiet $units
    if [ "$start" = yes ] && [ "$upgrade" = yes ]; then
        systemctl try-restart hoistd.service
    elif [ "$start" = yes ]; then
        # shellcheck disable=SC2086
        systemctl start $units
    fi
    say "installed; try: hoist run hoist/hello"
else
    say "installed; there is no systemd here: start /usr/bin/hoistd with the init system of this machine"
fi
say "who may use it without sudo: usermod -aG hoist NAME (as good as root)"
