#!/bin/sh
# Runs in a throw-away machine with systemd and cgroup version 2 as root. Arguments: test programs. Runs each as root, those
# about users without rights also as such a user: in a service of the system that the user may divide, and below the user's
# own systemd. The last line counts.
set -u

[ -x /bin/busybox ] || cp /busybox/busybox /bin/busybox
mkdir -p /var/tmp/runtime && chmod 1777 /var/tmp/runtime
export TMPDIR=/var/tmp/runtime RUST_BACKTRACE=0
passed=0
failed=0

# one NAME COMMAND...: a test program, by itself.
one() {
    label=$1
    shift
    if "$@" --test-threads=1 --nocapture > /tmp/out 2>&1; then
        passed=$((passed + 1))
        echo "ok $label: $(grep -c '^test .* ok$\|^ok$\|\.\.\. ok$' /tmp/out) tests"
    else
        failed=$((failed + 1))
        echo "FAILED $label"
        tail -n 60 /tmp/out
    fi
    sed -n 's/.*\(skipped: .*\)/    \1/p' /tmp/out | sort -u
}

grep ' - cgroup2\? ' /proc/self/mountinfo | sed 's/^/# /'
id plain > /dev/null 2>&1 || useradd --create-home plain
user=$(id -u plain)
systemctl start "user@$user.service"
for program in "$@"; do
    name=$(basename "$program")
    one "$name as root" "$program"
    case $name in
    rootless-*)
        one "$name as a user, in a service that is theirs" systemd-run --quiet --pipe --wait --uid=plain \
            -p Delegate=yes -E TMPDIR="$TMPDIR" -E RUST_BACKTRACE=0 "$program" a_
        one "$name as a user with a systemd of their own" systemd-run --quiet --pipe --wait --uid=plain \
            -p Delegate=yes -E TMPDIR="$TMPDIR" -E XDG_RUNTIME_DIR="/run/user/$user" -E RUST_BACKTRACE=0 "$program" a_users
        one "$name as a user, in a service of their own systemd" systemd-run --quiet --pipe --wait --user --machine=plain@ \
            -p Delegate=yes -E TMPDIR="$TMPDIR" -E XDG_RUNTIME_DIR="/run/user/$user" -E RUST_BACKTRACE=0 "$program" a_
        ;;
    esac
done
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
