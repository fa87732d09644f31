//! Under others: podman, buildah, containerd and dockerd run containers with the built program.
//!
//! Each runs Debian's package in mount and network namespaces of its own, so that nothing of it stays. A test whose program
//! is not installed says so. Needs root and busybox.

#![allow(clippy::unwrap_used, reason = "a test")]

mod bundle;

use std::path::Path;
use std::process::{Command, Stdio};

/// Functions of the scripts: `expect STATUS TEXT COMMAND…` runs a command and compares.
const PRELUDE: &str = r#"
set -u
ip link set lo up
expect() {
    status=$1; text=$2; shift 2
    output=$("$@" </dev/null 2>"$B/stderr"); got=$?
    output=$(printf %s "$output" | tr -d '\r')
    if [ "$got" != "$status" ] || [ "$output" != "$text" ]; then
        echo "$*: status $got, output: $output"; cat "$B/stderr"; failed=1
    fi
}
failed=0
"#;

/// Runs a script with `$B`, a scratch directory with a root file system and its archive, and `$RT`, the runtime.
fn interop(program: &str, script: &str) {
    let found = std::env::var("PATH").unwrap_or_default().split(':').any(|dir| Path::new(dir).join(program).exists());
    if !found {
        eprintln!("skipped: {program} is not installed");
        return;
    }
    let Some(bundle) = bundle::Bundle::new(program) else { return };
    let archive = bundle.base.join("rootfs.tar");
    assert!(
        Command::new("tar")
            .arg("-C")
            .arg(bundle.rootfs())
            .arg("-cf")
            .arg(&archive)
            .arg(".")
            .status()
            .unwrap()
            .success()
    );
    let conf = bundle.base.join("containers.conf");
    // The host may not allow what the defaults ask for.
    std::fs::write(&conf, "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n[containers]\nlog_driver = \"k8s-file\"\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n").unwrap();
    let output = bundle.base.join("script-output");
    let file = std::fs::File::create(&output).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--propagation", "private", "--", "timeout", "-k", "5", "120", "bash", "-c"]);
    command.arg(format!("{PRELUDE}{script}\nexit $failed"));
    command.env("B", &bundle.base).env("RT", bundle::PROGRAM).env("CONTAINERS_CONF", &conf);
    let status = command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file).status().unwrap();
    let text = std::fs::read_to_string(&output).unwrap();
    assert!(status.success(), "{text}");
}

#[test]
fn podman() {
    interop(
        "podman",
        r#"
mkdir "$B/run"; mount -t tmpfs none "$B/run"
P="podman --root $B/run/store --runroot $B/run/run --storage-driver vfs --runtime $RT"
$P import "$B/rootfs.tar" box:1 >/dev/null 2>&1 || { echo "import failed"; exit 1; }
expect 7 "hi" $P run --rm --network none box:1 sh -c 'echo hi; exit 7'
expect 0 "tty" $P run --rm -t --network none box:1 sh -c '[ -t 0 ] && echo tty'
expect 127 "" $P run --rm --network none box:1 nothere
$P run -d --name one --network none --memory 64m box:1 sleep 500 >/dev/null 2>&1 || failed=1
expect 3 "in" $P exec one sh -c 'echo in; exit 3'
expect 0 "one" $P pause one
expect 0 "paused" $P inspect -f '{{.State.Status}}' one
expect 0 "one" $P unpause one
expect 0 "one" $P kill -s KILL one
expect 0 "137" $P wait one
expect 0 "one" $P rm -f one
"#,
    );
}

#[test]
fn buildah() {
    interop(
        "buildah",
        r#"
mkdir "$B/run"; mount -t tmpfs none "$B/run"
P="buildah --root $B/run/store --runroot $B/run/run --storage-driver vfs"
c=$($P from scratch 2>/dev/null); $P add "$c" "$B/rootfs.tar" / >/dev/null 2>&1
expect 0 "" $P run --runtime "$RT" --network none "$c" sh -c 'echo made > /made'
expect 4 "made" $P run --runtime "$RT" --network none "$c" sh -c 'cat /made; exit 4'
expect 0 "tty" $P run -t --runtime "$RT" --network none "$c" sh -c '[ -t 0 ] && echo tty'
"#,
    );
}

#[test]
fn containerd() {
    interop(
        "containerd",
        r#"
mkdir "$B/run"; mount -t tmpfs none "$B/run"
cat > "$B/run/config.toml" <<C
version = 2
root = "$B/run/root"
state = "$B/run/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "$B/run/sock"
C
containerd -c "$B/run/config.toml" >"$B/run/log" 2>&1 & daemon=$!
C="ctr -a $B/run/sock"
until $C version >/dev/null 2>&1; do kill -0 $daemon || exit 1; done
expect 7 "hi" $C run --rm --rootfs --runc-binary "$RT" "$B/bundle/rootfs" one sh -c 'echo hi; exit 7'
$C run -d --rootfs --runc-binary "$RT" --memory-limit 67108864 "$B/bundle/rootfs" two sleep 500 || failed=1
expect 3 "in" $C task exec --exec-id e1 two sh -c 'echo in; exit 3'
expect 0 "" $C task pause two
$C task ls | grep -q PAUSED || { echo "not paused"; failed=1; }
expect 0 "" $C task resume two
expect 0 "" $C task kill -s KILL two
until $C task ls | grep -q STOPPED; do :; done
$C task rm two >/dev/null 2>&1; $C container rm two || failed=1
$C run --rm --rootfs --runc-binary "$RT" "$B/bundle/rootfs" three nothere 2>&1 | grep -q 'OCI runtime create failed: exec: "nothere"' || { echo "message lost"; failed=1; }
kill $daemon; wait $daemon
"#,
    );
}

#[test]
fn dockerd() {
    interop(
        "dockerd",
        r#"
mkdir "$B/run"; mount -t tmpfs none "$B/run"
dockerd -H "unix://$B/run/sock" --data-root "$B/run/data" --exec-root "$B/run/exec" --pidfile "$B/run/pid" --bridge none --iptables=false \
    --ip-forward=false --storage-driver vfs --add-runtime "hoist=$RT" --default-runtime hoist >"$B/run/log" 2>&1 & daemon=$!
export DOCKER_HOST="unix://$B/run/sock"
until docker version >/dev/null 2>&1; do kill -0 $daemon || { tail -5 "$B/run/log"; exit 1; }; done
docker import "$B/rootfs.tar" box:1 >/dev/null || exit 1
expect 0 "hoist" docker info -f '{{.DefaultRuntime}}'
expect 7 "hi" docker run --rm --network none box:1 sh -c 'echo hi; exit 7'
expect 127 "" docker run --rm --network none box:1 nothere
expect 126 "" docker run --rm --network none box:1 /bin
expect 0 "tty" docker run --rm -t --network none --user 33:33 box:1 sh -c '[ -t 0 ] && echo tty'
docker run -d --name one --network none --memory 64m box:1 sleep 500 >/dev/null || failed=1
expect 3 "in" docker exec one sh -c 'echo in; exit 3'
expect 0 "tty" docker exec -t one sh -c '[ -t 0 ] && echo tty'
expect 0 "one" docker update --memory 80m --memory-swap 160m one
expect 0 "one" docker pause one
expect 0 "paused" docker inspect -f '{{.State.Status}}' one
expect 0 "one" docker unpause one
expect 0 "one" docker kill -s KILL one
expect 0 "137" docker wait one
expect 0 "one" docker rm one
kill $daemon; wait $daemon
"#,
    );
}
