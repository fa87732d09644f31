#!/bin/sh
# Runs in a throw-away machine with systemd as root, once per boot: $1 packages, $2 a directory that stays between the boots,
# $3 which boot. The data root is a disk of its own, an image in $2, which every boot finds as the one before has left it.
#
#   first    installs, starts containers, shuts down as systemd does
#   second   a new kernel: what has a policy runs again; ends by a power cut, in the middle of what it does
#   third    a new kernel again: nothing is lost, nothing is broken
set -u

packages=$1
place=$2
boot=$3
passed=0
failed=0

ok() {
    passed=$((passed + 1))
    printf 'ok %s: %s\n' "$boot" "$1"
}
bad() {
    failed=$((failed + 1))
    printf 'FAILED %s: %s: %s\n' "$boot" "$1" "${2:-}"
}
check() {
    name=$1
    shift
    if output=$("$@" 2>&1); then ok "$name"; else bad "$name" "$output"; fi
}
same() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "expected '$2', got '$3'"; fi; }
until_true() {
    name=$1
    shift
    for _ in $(seq 300); do
        if "$@" >/dev/null 2>&1; then
            ok "$name"
            return
        fi
        sleep 0.1
    done
    bad "$name" "not within 30 s"
}

disk=$place/disk.img
if [ "$boot" = first ]; then
    rm -f "$disk"
    truncate -s 400M "$disk"
    mkfs.ext4 -q -F "$disk"
fi
mkdir -p /var/lib/hoist
if ! mount -o loop "$disk" /var/lib/hoist; then
    echo "skipped: this kernel mounts no image of a disk [reboot]"
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
check "install" dpkg -i "$packages"/hoist_*.deb
until_true "the daemon answers" hoist version
sleeper="trap 'echo told >> /data/told; exit 0' TERM; echo up >> /data/ups; while :; do sleep 0.2; done"

start() { # NAME OPTIONS
    name=$1
    shift
    hoist run -d --name "$name" --network none -v "$name:/data" "$@" box sh -c "$sleeper" >/dev/null
    until_true "$name runs" hoist exec "$name" test -s /data/ups
}
data() { cat "/var/lib/hoist/volumes/$1/_data/$2" 2>/dev/null | wc -l; }

case $boot in
first)
    root=$(mktemp -d)
    mkdir -p "$root/bin"
    cp "$(command -v busybox)" "$root/bin/"
    for applet in $("$root/bin/busybox" --list); do ln -s busybox "$root/bin/$applet" 2>/dev/null; done
    tar -C "$root" -c . | hoist import - box >/dev/null
    start always --restart always
    start unless --restart unless-stopped
    start byhand --restart unless-stopped
    start once
    hoist stop byhand >/dev/null
    check "the units stop" systemctl stop hoist-shutdown.service hoistd.socket hoistd.service hoist-containers.service
    same "each had its time" "1 1 1" "$(data always told) $(data unless told) $(data once told)"
    # Before Linux 6.15 layers are mounted beside their files; systemd ends with the same.
    until_true "the disk is let go" umount -R /var/lib/hoist
    grep /var/lib/hoist /proc/self/mountinfo
    ;;
second)
    for name in always unless; do until_true "$name runs again" hoist exec "$name" true; done
    same "started twice by now" "2 2" "$(data always ups) $(data unless ups)"
    same "no policy" "exited 0" "$(hoist inspect -f '{{.State.Status}} {{.State.ExitCode}}' once)"
    same "stopped by hand" "exited 0" "$(hoist inspect -f '{{.State.Status}} {{.State.ExitCode}}' byhand)"
    check "start of one that was stopped" hoist start byhand
    sync
    # What is on its way when the power goes.
    for n in $(seq 20); do hoist run -d --network none --restart always --name "late$n" box sleep 1000 >/dev/null 2>&1; done &
    sleep 1
    ;;
third)
    for name in always unless byhand; do until_true "$name runs again" hoist exec "$name" true; done
    same "the image is whole" 0 "$(hoist system verify >/dev/null 2>&1; echo $?)"
    for name in $(hoist ps -aq); do
        hoist inspect "$name" >/dev/null 2>&1 || bad "every container is whole" "$name"
    done
    check "a new container" hoist run --rm --network none box true
    check "all can be removed" sh -c 'hoist rm -f $(hoist ps -aq)'
    same "none is left" "" "$(hoist ps -aq)"
    ;;
esac
printf '%s passed, %s failed, 0 skipped\n' "$passed" "$failed"
[ "$failed" = 0 ] || { journalctl -q --no-pager -u 'hoist*' | tail -40; exit 1; }
