#!/bin/sh
# Runs in a throw-away machine with systemd as root: installs the packages of $1 with apt, lives with them, upgrades them
# under running containers, goes through a shutdown and the next boot, and removes them.
# Each check prints "ok NAME" or "FAILED NAME"; the last line counts. $2: "network", if the kernel has nf_tables for inet.
set -u

packages=$1
network=${2:-}
passed=0
failed=0
skipped=0
marks=$(mktemp -d /var/tmp/machine.XXXXXX)

note() { printf '%s\n' "$*"; }
ok() {
    passed=$((passed + 1))
    note "ok $1"
}
bad() {
    failed=$((failed + 1))
    note "FAILED $1: ${2:-}"
}
# check NAME COMMAND...: the command succeeds.
check() {
    name=$1
    shift
    if output=$("$@" 2>&1); then ok "$name"; else bad "$name" "$output"; fi
}
# same NAME EXPECTED ACTUAL
same() { if [ "$2" = "$3" ]; then ok "$1"; else bad "$1" "expected '$2', got '$3'"; fi; }
# holds NAME TEXT PART
holds() { case $2 in *"$3"*) ok "$1" ;; *) bad "$1" "no '$3' in: $2" ;; esac; }
# fails NAME STATUS PART COMMAND...: exit status and a part of what it says.
fails() {
    name=$1 status=$2 part=$3
    shift 3
    output=$("$@" 2>&1)
    actual=$?
    if [ "$actual" = "$status" ]; then holds "$name" "$output" "$part"; else bad "$name" "status $actual: $output"; fi
}
# until NAME COMMAND...: it succeeds within 30 seconds.
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
skip() {
    skipped=$((skipped + 1))
    note "skipped: $2 [$1]"
}

export DEBIAN_FRONTEND=noninteractive
apt() { apt-get -qq -y -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root "$@"; }

# A mirror that this machine cannot reach does not matter: ours is a directory.
note "== install from the signed repository (w20)"
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/*
mkdir -p /etc/apt/keyrings /opt/apt
cp -r "$packages/apt/." /opt/apt/
cp /opt/apt/hoist.asc /etc/apt/keyrings/
sed 's|^URIs:.*|URIs: file:/opt/apt|' /opt/apt/hoist.sources >/etc/apt/sources.list.d/hoist.sources
check "apt-get update trusts the key" apt update
check "apt-get install hoist" apt install hoist
check "the package is whole" dpkg --verify hoist
same "hoistd.service" active "$(systemctl is-active hoistd.service)"
same "hoistd.socket" active "$(systemctl is-active hoistd.socket)"
same "started at boot" enabled "$(systemctl is-enabled hoistd.service)"
holds "systemctl status" "$(systemctl status hoistd.service)" "Answers on /run/hoist.sock"
same "Type=notify, watchdog" "notify 1min" "$(systemctl show -P Type hoistd.service) $(systemctl show -P WatchdogUSec hoistd.service)"
same "group and mode of the socket" "root hoist 660" "$(stat -c '%U %G %a' /run/hoist.sock)"
useradd -m someone 2>/dev/null
fails "without the group" 1 "permission denied while trying to connect" setpriv --reuid=someone --regid=someone --init-groups hoist ps
usermod -aG hoist someone
check "with the group" setpriv --reuid=someone --regid=someone --init-groups hoist ps

note "== first steps (w01 to w10)"
holds "w01 version" "$(hoist version)" "Server:"
fails "w01 no daemon" 1 "Cannot connect to the Docker daemon at unix:///nowhere.sock. Is the docker daemon running?" hoist -H unix:///nowhere.sock version
net=
if [ "$network" != network ]; then net="--network none"; fi
root=$marks/root
mkdir -p "$root/bin"
cp "$(command -v busybox)" "$root/bin/"
for applet in $("$root/bin/busybox" --list); do ln -s busybox "$root/bin/$applet" 2>/dev/null; done
tar -C "$root" -c . | hoist import -c 'CMD ["sh"]' - localhost:5000/httpd >/dev/null
mkdir -p "$marks/registry"
hoist registry serve --root "$marks/registry" --allow-anonymous-push >"$marks/registry.log" 2>&1 &
registry=$!
until_true "a registry of one's own" hoist push localhost:5000/httpd
hoist rmi localhost:5000/httpd >/dev/null
output=$(hoist pull localhost:5000/httpd)
holds "w02 pull" "$output" "Status: Downloaded newer image for localhost:5000/httpd:latest"
holds "w02 pull again" "$(hoist pull localhost:5000/httpd)" "Image is up to date"
kill $registry
hoist tag localhost:5000/httpd httpd
hoist rmi localhost:5000/httpd >/dev/null
holds "w03 images" "$(hoist images | head -1)" "REPOSITORY"
sleeper="trap 'echo told >> /marks/\$HOSTNAME; exit 0' TERM; echo started; while :; do sleep 0.2; done"
# shellcheck disable=SC2086
start() { # NAME OPTIONS
    name=$1
    shift
    hoist run -d --name "$name" --hostname "$name" $net -v "$marks:/marks" "$@" httpd sh -c "$sleeper"
}
check "w04 run" start ws1
check "w04 run another" start ws2
fails "w04 the same name" 125 "Conflict. The container name \"/ws1\" is already in use" hoist run -d --name ws1 httpd
same "w04 ps" "ws2 ws1" "$(hoist ps --format '{{.Names}}' | xargs)"
if [ "$network" = network ]; then
    hoist run -d --name web -p 8000:80 httpd sh -c 'echo it works >/index.html; exec httpd -f -p 80 -h /' >/dev/null
    until_true "w05 a published port" curl -sf http://127.0.0.1:8000/index.html
    address=$(hostname -I | cut -d' ' -f1)
    check "w05 from another address of the host" curl -sf "http://$address:8000/index.html"
    check "w05 from another container" hoist run --rm httpd wget -qO- "http://$address:8000/index.html"
else
    skip "w05 published ports" "this kernel has no nf_tables for inet"
fi
until_true "w06 logs" sh -c 'hoist logs ws1 | grep -q started'
fails "w07 rm of a running container" 1 "stop the container before removing or force remove" hoist rm ws1
fails "w08 rmi of an image in use" 1 "is using" hoist rmi httpd
same "w09 exec" / "$(hoist exec ws1 pwd)"
fails "w09 exit status" 7 "" hoist exec ws1 sh -c 'exit 7'
fails "w10 a missing shell" 127 "no such file" hoist exec ws1 /bin/zsh
holds "w10 a terminal" "$(script -qec 'hoist exec -it ws1 sh -c "tty; exit"' /dev/null </dev/null)" "/dev/pts/"

note "== options and listing (w15 to w17, w26)"
id=$(hoist ps -q --no-trunc --filter name=ws2)
check "w15 by a prefix" hoist inspect "$(printf %.6s "$id")"
holds "w16 ps -a" "$(hoist ps -a | head -1)" "CONTAINER ID"
# shellcheck disable=SC2086
same "w17 -e --rm" seen "$(hoist run --rm $net -e WORD=seen httpd sh -c 'echo $WORD')"
fails "w17 -name" 125 "--name" hoist run -name x httpd
same "w26 stop is the stop signal" "$(printf 'ws2\ntold')" "$(hoist stop ws2; cat "$marks/ws2")"
# shellcheck disable=SC2086
hoist run -d --name deaf $net httpd sh -c "trap '' TERM; while :; do sleep 1; done" >/dev/null
hoist stop -t 1 deaf >/dev/null
same "w26 then SIGKILL" 137 "$(hoist inspect -f '{{.State.ExitCode}}' deaf)"
check "w07 rm of stopped ones" hoist rm ws2 deaf

finish() {
    rm -rf "$marks"
    note "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" != 0 ] || exit 0
    journalctl -q --no-pager -u 'hoist*' | tail -60
    exit 1
}

# Where an emulated processor makes everything slow, what is about the network has to do.
if [ "$network" = network ]; then
    note "== published ports without the daemon, and after an upgrade of it"
    systemctl stop hoistd.socket hoistd.service
    check "the port answers while the daemon is away" curl -sf http://127.0.0.1:8000/index.html
    check "apt-get install --reinstall" apt install --reinstall hoist
    systemctl start hoistd.socket hoistd.service
    check "the port answers" curl -sf http://127.0.0.1:8000/index.html
    holds "ps knows it" "$(hoist ps)" "0.0.0.0:8000->80/tcp"
    check "rm -f" hoist rm -f web
    fails "the port is closed" 7 "" curl -sf http://127.0.0.1:8000/index.html
    finish
fi

note "== the daemon comes and goes, containers stay"
pid=$(hoist inspect -f '{{.State.Pid}}' ws1)
holds "the container's cgroup is in its own slice" "$(cat "/proc/$pid/cgroup")" "/hoist.slice/hoist-containers.service/hoist/"
holds "and is a delegated one" "$(systemctl show -P Delegate hoist-containers.service)" yes
shim=$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$pid/status")
holds "its shim is there too" "$(cat "/proc/$shim/cgroup")" "/hoist.slice/hoist-containers.service/hoist/"
same "hoistd.service has the daemon alone" "$(systemctl show -P MainPID hoistd.service)" \
    "$(xargs </sys/fs/cgroup/system.slice/hoistd.service/cgroup.procs)"
before=$(systemctl show -P MainPID hoistd.service)
check "systemctl daemon-reload" systemctl daemon-reload
check "systemctl restart hoistd" systemctl restart hoistd.service
same "restart: the container is the same" "$pid true" "$(hoist inspect -f '{{.State.Pid}} {{.State.Running}}' ws1)"
kill -9 "$(systemctl show -P MainPID hoistd.service)"
until_true "kill -9: systemd starts it again" hoist exec ws1 true
same "kill -9: the container is the same" "$pid true" "$(hoist inspect -f '{{.State.Pid}} {{.State.Running}}' ws1)"
mkdir -p /run/systemd/system/hoistd.service.d
printf '[Service]\nWatchdogSec=3\n' >/run/systemd/system/hoistd.service.d/test.conf
systemctl daemon-reload
systemctl restart hoistd.service
hung=$(systemctl show -P MainPID hoistd.service)
kill -STOP "$hung"
until_true "a daemon that hangs is replaced" sh -c "hoist exec ws1 true && [ \"\$(systemctl show -P MainPID hoistd.service)\" != $hung ]"
same "hang: the container is the same" "$pid true" "$(hoist inspect -f '{{.State.Pid}} {{.State.Running}}' ws1)"
rm -r /run/systemd/system/hoistd.service.d
systemctl daemon-reload
systemctl restart hoistd.service
systemctl stop hoistd.service 2>/dev/null
check "stop: the container lives" kill -0 "$pid"
if [ -e /sys/fs/cgroup/system.slice/hoistd.service ]; then bad "stop: the unit's cgroup is gone"; else ok "stop: the unit's cgroup is gone"; fi
same "socket activation starts it" "$pid" "$(hoist inspect -f '{{.State.Pid}}' ws1)"
# Even a unit that ends all of its processes has nothing but the daemon to end.
mkdir -p /run/systemd/system/hoistd.service.d
printf '[Service]\nKillMode=control-group\n' >/run/systemd/system/hoistd.service.d/test.conf
systemctl daemon-reload
check "KillMode=control-group: restart" systemctl restart hoistd.service
same "KillMode=control-group: the container is the same" "$pid true" "$(hoist inspect -f '{{.State.Pid}} {{.State.Running}}' ws1)"
rm -r /run/systemd/system/hoistd.service.d
systemctl daemon-reload
echo '{"debug": true}' >/etc/hoist/daemon.json
check "systemctl reload" systemctl reload hoistd.service
until_true "reload: the new setting holds" sh -c '[ "$(hoist info --format "{{.Debug}}")" = true ]'
rm /etc/hoist/daemon.json
systemctl reload hoistd.service
same "reload: the daemon is active" active "$(systemctl is-active hoistd.service)"
systemctl set-property --runtime hoist.slice MemoryMax=700M
same "a limit for all containers" 734003200 "$(cat /sys/fs/cgroup/hoist.slice/memory.max)"

note "== upgrade with running containers"
before=$(systemctl show -P MainPID hoistd.service)
mkdir -p "$marks/newer"
dpkg-deb --raw-extract /opt/apt/pool/hoist_*.deb "$marks/newer" 2>/dev/null
sed -i 's/^Version:.*/Version: 99/' "$marks/newer/DEBIAN/control"
dpkg-deb --build -Znone "$marks/newer" "$marks/hoist-99.deb" >/dev/null
check "a newer package" dpkg -i "$marks/hoist-99.deb"
rm -rf "$marks/newer" "$marks/hoist-99.deb"
if [ "$before" != "$(systemctl show -P MainPID hoistd.service)" ]; then ok "the daemon is a new one"; else bad "the daemon is a new one"; fi
same "the container is the same" "$pid true" "$(hoist inspect -f '{{.State.Pid}} {{.State.Running}}' ws1)"
same "exec in it" works "$(hoist exec ws1 echo works)"
if [ -e "$marks/ws1" ]; then bad "nobody told it to stop"; else ok "nobody told it to stop"; fi

note "== shutdown and boot"
start always --restart always >/dev/null
start unless --restart unless-stopped >/dev/null
start byhand --restart unless-stopped >/dev/null
for name in always unless byhand; do until_true "$name runs" sh -c "hoist logs $name | grep -q started"; done
hoist stop byhand >/dev/null
rm -f "$marks/byhand"
# What the machine's shutdown does with these units, in its order.
check "the units stop" systemctl stop hoist-shutdown.service hoistd.socket hoistd.service hoist-containers.service
for name in ws1 always unless; do same "$name had its time" told "$(cat "$marks/$name" 2>&1)"; done
if kill -0 "$pid" 2>/dev/null; then bad "nothing runs any more"; else ok "nothing runs any more"; fi
# /run is new after a boot, and what was left of the processes is gone.
for process in $(pgrep -f hoist-runtime); do kill -9 "$process"; done
rm -rf /run/hoist /run/hoist.pid
rm -f "$marks/always" "$marks/unless"
check "the units start" systemctl start hoistd.socket hoistd.service hoist-shutdown.service
for name in always unless; do until_true "$name runs again" hoist exec "$name" true; done
same "ws1 has no restart policy" "exited 0" "$(hoist inspect -f '{{.State.Status}} {{.State.ExitCode}}' ws1)"
same "byhand was stopped by hand" "exited 0" "$(hoist inspect -f '{{.State.Status}} {{.State.ExitCode}}' byhand)"

note "== a power cut"
systemctl stop hoistd.socket hoistd.service
for process in $(cat /sys/fs/cgroup/hoist.slice/hoist-containers.service/hoist/*/cgroup.procs) $(pgrep -f hoist-runtime); do
    kill -9 "$process" 2>/dev/null
done
rm -rf /run/hoist
systemctl start hoistd.socket hoistd.service
until_true "always runs again" hoist exec always true
until_true "unless runs again" hoist exec unless true
same "byhand stays down" "exited 0" "$(hoist inspect -f '{{.State.Status}} {{.State.ExitCode}}' byhand)"

note "== Docker's names"
check "apt-get install hoist-docker" apt install hoist-docker
holds "docker is hoist" "$(docker ps --format '{{.Names}}')" always
same "/run/docker.sock" OK "$(curl -s --unix-socket /run/docker.sock http://localhost/_ping)"
check "apt-get remove hoist-docker" apt remove hoist-docker
if [ -e /run/docker.sock ]; then bad "its socket is gone"; else ok "its socket is gone"; fi

note "== remove"
pid=$(hoist inspect -f '{{.State.Pid}}' always)
check "apt-get remove hoist" apt remove hoist
same "the container had its time" told "$(cat "$marks/always")"
if kill -0 "$pid" 2>/dev/null; then bad "no container runs"; else ok "no container runs"; fi
if [ -e /run/hoist.sock ]; then bad "no socket"; else ok "no socket"; fi
if [ -e /usr/bin/hoist ]; then bad "no program"; else ok "no program"; fi
if [ -d /var/lib/hoist ]; then ok "data stays"; else bad "data stays"; fi
check "apt-get purge hoist" apt purge hoist
if systemctl list-unit-files | grep -q '^hoist'; then bad "no unit is left" "$(systemctl list-unit-files | grep '^hoist')"; else ok "no unit is left"; fi

note "== install.sh, without a network"
mkdir "$marks/tarball"
tar -xzf "$packages"/hoist-*.tar.gz -C "$marks/tarball" --strip-components=1
check "install" "$marks/tarball/install.sh" --docker
check "its daemon finds what is there" sh -c 'docker images | grep -q httpd'
check "upgrade in place" "$marks/tarball/install.sh"
check "uninstall" "$marks/tarball/install.sh" --uninstall
if [ -e /usr/bin/hoistd ] || [ -e /usr/bin/docker ]; then bad "nothing is left"; else ok "nothing is left"; fi

finish
