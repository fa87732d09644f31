//! The flags of `run`, and those of them that `create` has.

use crate::cli::{Flag, Kind, check, flag, hidden};

/// Flags of `run`.
pub(crate) const RUN: &[Flag] = &[
    flag("add-host", '\0', Kind::Many("list", check::extra_host), "Add a custom host-to-IP mapping (host:ip)"),
    flag(
        "annotation",
        '\0',
        Kind::MAP,
        "Add an annotation to the container (passed through to the OCI runtime) (default map[])",
    ),
    flag("attach", 'a', Kind::Many("list", check::attach), "Attach to STDIN, STDOUT or STDERR"),
    flag(
        "blkio-weight",
        '\0',
        Kind::Uint(16),
        "Block IO (relative weight), between 10 and 1000, or 0 to disable (default 0)",
    ),
    flag(
        "blkio-weight-device",
        '\0',
        Kind::Many("list", check::weight_device),
        "Block IO weight (relative device weight) (default [])",
    ),
    flag("cap-add", '\0', Kind::LIST, "Add Linux capabilities"),
    flag("cap-drop", '\0', Kind::LIST, "Drop Linux capabilities"),
    flag("cgroup-parent", '\0', Kind::Str(""), "Optional parent cgroup for the container"),
    flag(
        "cgroupns",
        '\0',
        Kind::Str(""),
        "Cgroup namespace to use (host|private)\n'host':    Run the container in the Docker host's cgroup namespace\n'private': Run the container in its own private cgroup namespace\n'':        Use the cgroup namespace as configured by the\n           default-cgroupns-mode option on the daemon (default)",
    ),
    flag("cidfile", '\0', Kind::Str(""), "Write the container ID to the file"),
    hidden("cpu-count", Kind::Int(0)),
    hidden("cpu-percent", Kind::Int(0)),
    flag("cpu-period", '\0', Kind::Int(0), "Limit CPU CFS (Completely Fair Scheduler) period"),
    flag("cpu-quota", '\0', Kind::Int(0), "Limit CPU CFS (Completely Fair Scheduler) quota"),
    flag("cpu-rt-period", '\0', Kind::Int(0), "Limit CPU real-time period in microseconds"),
    flag("cpu-rt-runtime", '\0', Kind::Int(0), "Limit CPU real-time runtime in microseconds"),
    flag("cpu-shares", 'c', Kind::Int(0), "CPU shares (relative weight)"),
    flag("cpus", '\0', Kind::Custom("decimal", check::cpus), "Number of CPUs"),
    flag("cpuset-cpus", '\0', Kind::Str(""), "CPUs in which to allow execution (0-3, 0,1)"),
    flag("cpuset-mems", '\0', Kind::Str(""), "MEMs in which to allow execution (0-3, 0,1)"),
    flag("detach", 'd', Kind::Bool(false), "Run container in background and print container ID"),
    flag("detach-keys", '\0', Kind::Str(""), "Override the key sequence for detaching a container"),
    flag("device", '\0', Kind::LIST, "Add a host device to the container"),
    flag(
        "device-cgroup-rule",
        '\0',
        Kind::Many("list", check::device_rule),
        "Add a rule to the cgroup allowed devices list",
    ),
    flag(
        "device-read-bps",
        '\0',
        Kind::Many("list", check::throttle_bps),
        "Limit read rate (bytes per second) from a device (default [])",
    ),
    flag(
        "device-read-iops",
        '\0',
        Kind::Many("list", check::throttle_iops),
        "Limit read rate (IO per second) from a device (default [])",
    ),
    flag(
        "device-write-bps",
        '\0',
        Kind::Many("list", check::throttle_bps),
        "Limit write rate (bytes per second) to a device (default [])",
    ),
    flag(
        "device-write-iops",
        '\0',
        Kind::Many("list", check::throttle_iops),
        "Limit write rate (IO per second) to a device (default [])",
    ),
    flag("disable-content-trust", '\0', Kind::Bool(true), "Skip image verification (default true)"),
    flag("dns", '\0', Kind::Many("list", check::ip_address), "Set custom DNS servers"),
    flag("dns-option", '\0', Kind::LIST, "Set DNS options"),
    flag("dns-search", '\0', Kind::Many("list", check::domain), "Set custom DNS search domains"),
    flag("domainname", '\0', Kind::Str(""), "Container NIS domain name"),
    flag("entrypoint", '\0', Kind::Str(""), "Overwrite the default ENTRYPOINT of the image"),
    flag("env", 'e', Kind::Many("list", check::env), "Set environment variables"),
    flag("env-file", '\0', Kind::LIST, "Read in a file of environment variables"),
    flag("expose", '\0', Kind::LIST, "Expose a port or a range of ports"),
    flag(
        "gpus",
        '\0',
        Kind::Many("gpu-request", check::gpus),
        "GPU devices to add to the container ('all' to pass all GPUs)",
    ),
    flag("group-add", '\0', Kind::LIST, "Add additional groups to join"),
    flag("health-cmd", '\0', Kind::Str(""), "Command to run to check health"),
    flag("health-interval", '\0', Kind::Duration, "Time between running the check (ms|s|m|h) (default 0s)"),
    flag("health-retries", '\0', Kind::Int(0), "Consecutive failures needed to report unhealthy"),
    flag(
        "health-start-interval",
        '\0',
        Kind::Duration,
        "Time between running the check during the start period (ms|s|m|h) (default 0s)",
    ),
    flag(
        "health-start-period",
        '\0',
        Kind::Duration,
        "Start period for the container to initialize before starting health-retries countdown (ms|s|m|h) (default 0s)",
    ),
    flag("health-timeout", '\0', Kind::Duration, "Maximum time to allow one check to run (ms|s|m|h) (default 0s)"),
    flag("help", '\0', Kind::Bool(false), "Print usage"),
    flag("hostname", 'h', Kind::Str(""), "Container host name"),
    flag("init", '\0', Kind::Bool(false), "Run an init inside the container that forwards signals and reaps processes"),
    flag("interactive", 'i', Kind::Bool(false), "Keep STDIN open even if not attached"),
    hidden("io-maxbandwidth", Kind::BYTES),
    hidden("io-maxiops", Kind::Uint(64)),
    flag("ip", '\0', Kind::Str(""), "IPv4 address (e.g., 172.30.100.104)"),
    flag("ip6", '\0', Kind::Str(""), "IPv6 address (e.g., 2001:db8::33)"),
    flag("ipc", '\0', Kind::Str(""), "IPC mode to use"),
    flag("isolation", '\0', Kind::Str(""), "Container isolation technology"),
    flag("kernel-memory", '\0', Kind::BYTES, "Kernel memory limit"),
    flag("label", 'l', Kind::Many("list", check::label), "Set meta data on a container"),
    flag("label-file", '\0', Kind::LIST, "Read in a line delimited file of labels"),
    flag("link", '\0', Kind::Many("list", check::link), "Add link to another container"),
    flag("link-local-ip", '\0', Kind::LIST, "Container IPv4/IPv6 link-local addresses"),
    flag("log-driver", '\0', Kind::Str(""), "Logging driver for the container"),
    flag("log-opt", '\0', Kind::LIST, "Log driver options"),
    flag("mac-address", '\0', Kind::Str(""), "Container MAC address (e.g., 92:d0:c6:0a:29:33)"),
    flag("memory", 'm', Kind::BYTES, "Memory limit"),
    flag("memory-reservation", '\0', Kind::BYTES, "Memory soft limit"),
    flag(
        "memory-swap",
        '\0',
        Kind::Custom("bytes", check::swap_bytes),
        "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
    ),
    flag("memory-swappiness", '\0', Kind::Int(-1), "Tune container memory swappiness (0 to 100) (default -1)"),
    flag("mount", '\0', Kind::Many("mount", check::mount), "Attach a filesystem mount to the container"),
    flag("name", '\0', Kind::Str(""), "Assign a name to the container"),
    flag("network", '\0', Kind::Many("network", check::network), "Connect a container to a network"),
    flag("network-alias", '\0', Kind::LIST, "Add network-scoped alias for the container"),
    flag("no-healthcheck", '\0', Kind::Bool(false), "Disable any container-specified HEALTHCHECK"),
    flag("oom-kill-disable", '\0', Kind::Bool(false), "Disable OOM Killer"),
    flag("oom-score-adj", '\0', Kind::Int(0), "Tune host's OOM preferences (-1000 to 1000)"),
    flag("pid", '\0', Kind::Str(""), "PID namespace to use"),
    flag("pids-limit", '\0', Kind::Int(0), "Tune container pids limit (set -1 for unlimited)"),
    flag("platform", '\0', Kind::Str(""), "Set platform if server is multi-platform capable"),
    flag("privileged", '\0', Kind::Bool(false), "Give extended privileges to this container"),
    flag("publish", 'p', Kind::LIST, "Publish a container's port(s) to the host"),
    flag("publish-all", 'P', Kind::Bool(false), "Publish all exposed ports to random ports"),
    flag(
        "pull",
        '\0',
        Kind::Str("missing"),
        "Pull image before running (\"always\", \"missing\", \"never\") (default \"missing\")",
    ),
    flag("quiet", 'q', Kind::Bool(false), "Suppress the pull output"),
    flag("read-only", '\0', Kind::Bool(false), "Mount the container's root filesystem as read only"),
    flag("restart", '\0', Kind::Str("no"), "Restart policy to apply when a container exits (default \"no\")"),
    flag(
        "rm",
        '\0',
        Kind::Bool(false),
        "Automatically remove the container and its associated anonymous volumes when it exits",
    ),
    flag("runtime", '\0', Kind::Str(""), "Runtime to use for this container"),
    flag("security-opt", '\0', Kind::LIST, "Security Options"),
    flag("shm-size", '\0', Kind::BYTES, "Size of /dev/shm"),
    flag("sig-proxy", '\0', Kind::Bool(true), "Proxy received signals to the process (default true)"),
    flag("stop-signal", '\0', Kind::Str(""), "Signal to stop the container"),
    flag("stop-timeout", '\0', Kind::Int(0), "Timeout (in seconds) to stop a container"),
    flag("storage-opt", '\0', Kind::LIST, "Storage driver options for the container"),
    flag("sysctl", '\0', Kind::Many("map", check::sysctl), "Sysctl options (default map[])"),
    flag("tmpfs", '\0', Kind::LIST, "Mount a tmpfs directory"),
    flag("tty", 't', Kind::Bool(false), "Allocate a pseudo-TTY"),
    flag("ulimit", '\0', Kind::Many("ulimit", check::ulimit), "Ulimit options (default [])"),
    flag("use-api-socket", '\0', Kind::Bool(false), "Bind mount Docker API socket and required auth"),
    flag("user", 'u', Kind::Str(""), "Username or UID (format: <name|uid>[:<group|gid>])"),
    flag("userns", '\0', Kind::Str(""), "User namespace to use"),
    flag("uts", '\0', Kind::Str(""), "UTS namespace to use"),
    flag("volume", 'v', Kind::LIST, "Bind mount a volume"),
    flag("volume-driver", '\0', Kind::Str(""), "Optional volume driver for the container"),
    flag("volumes-from", '\0', Kind::LIST, "Mount volumes from the specified container(s)"),
    flag("workdir", 'w', Kind::Str(""), "Working directory inside the container"),
    hidden("dns-opt", Kind::LIST),
    hidden("net", Kind::Many("network", check::network)),
    hidden("net-alias", Kind::LIST),
    // Ours. The page of `--help` is Docker's.
    hidden("time-offset", Kind::LIST),
];

/// Flags of `run` that are for somebody who stays.
const ONLY_RUN: [&str; 3] = ["detach", "detach-keys", "sig-proxy"];

/// Flags of `create`: those of `run`, but those.
pub(crate) const CREATE: &[Flag] = &create();

const fn create() -> [Flag; RUN.len() - ONLY_RUN.len()] {
    let mut flags = [RUN[0]; RUN.len() - ONLY_RUN.len()];
    let (mut from, mut to) = (0, 0);
    while from < RUN.len() {
        let name = RUN[from].long;
        if !(same(name, ONLY_RUN[0]) || same(name, ONLY_RUN[1]) || same(name, ONLY_RUN[2])) {
            flags[to] = RUN[from];
            if same(name, "pull") {
                // Docker's page has that bar.
                flags[to].help =
                    "Pull image before creating (\"always\", \"|missing\", \"never\") (default \"missing\")";
            }
            to += 1;
        }
        from += 1;
    }
    flags
}

const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}
