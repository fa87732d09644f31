//! Help pages, tables and errors at 60, 80 and 120 columns and without a terminal, against files in `data/widths/`:
//!
//! | file | what | recorded from |
//! | --- | --- | --- |
//! | `pages.txt` | help of every command that Docker has too | docker 28.2.2 |
//! | `tables.txt` | every list command | docker 28.2.2 |
//! | `errors.txt` | wrong words, wrong names, no daemon | docker 28.2.2 |
//! | `own.txt` | what hoist alone has, and the tables that it lays out otherwise | hoist |
//!
//! `HOIST_BLESS=1` writes the files anew; with `CLIENT=/path/to/docker` from that program, all but the last.

mod support;

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::pty::{self, OpenptFlags};
use rustix::termios::{self, Winsize};
use serde_json::json as object;
use support::{Recorded, Reply, Stub, empty, json, text};

/// Columns of a terminal; the last is none.
const WIDTHS: [Option<u16>; 4] = [Some(60), Some(80), Some(120), None];

/// Our end of a terminal of so many columns, and the program's.
fn terminal(columns: u16) -> (File, OwnedFd) {
    let ours = pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("pty");
    pty::grantpt(&ours).expect("grant");
    pty::unlockpt(&ours).expect("unlock");
    let name = pty::ptsname(&ours, Vec::new()).expect("name");
    let theirs = File::options().read(true).write(true).open(name.to_str().expect("utf8")).expect("open the other end");
    let size = Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    termios::tcsetwinsize(&ours, size).expect("size");
    (File::from(ours), OwnedFd::from(theirs))
}

/// What a program prints on a terminal of so many columns, or where there is none.
fn printed(mut command: Command, columns: Option<u16>) -> String {
    let Some(columns) = columns else {
        let output = command.output().expect("runs");
        return text(&output.stdout) + &text(&output.stderr);
    };
    let (mut ours, theirs) = terminal(columns);
    let end = || Stdio::from(theirs.try_clone().expect("clone"));
    let mut child = command.stdin(end()).stdout(end()).stderr(end()).spawn().expect("runs");
    // The command holds the other end as well.
    drop((command, theirs));
    let (mut out, mut piece) = (Vec::new(), [0u8; 4096]);
    // The end of a terminal whose other side is closed is an error, behind everything that was written.
    while let Ok(count @ 1..) = ours.read(&mut piece) {
        out.extend_from_slice(&piece[..count]);
    }
    child.wait().expect("ends");
    text(&out).replace("\r\n", "\n")
}

/// Unix time of so many seconds ago: tables say how long ago something was.
fn ago(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() - seconds
}

const HOUR: u64 = 3600;

fn stamp(seconds: u64) -> String {
    jiff::Timestamp::from_second(i64::try_from(ago(seconds)).expect("small")).expect("a time").to_string()
}

fn id(digit: char) -> String {
    std::iter::repeat_n(digit, 64).collect()
}

fn containers() -> serde_json::Value {
    object!([
        {
            "Id": id('a'), "Names": ["/web-server"], "Image": "registry.example.com/a-rather-long-team/web:stable",
            "ImageID": format!("sha256:{}", id('1')), "Command": "httpd -f -p 80 -h /srv/www", "Created": ago(2 * HOUR),
            "State": "running", "Status": "Up 2 hours", "SizeRw": 1_234_567, "SizeRootFs": 98_765_432,
            "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"}],
            "Labels": {"stage": "test"}, "NetworkSettings": {"Networks": {"bridge": {}}}, "Mounts": [],
        },
        {
            "Id": id('b'), "Names": ["/db"], "Image": "mariadb", "ImageID": format!("sha256:{}", id('2')),
            "Command": "mariadbd", "Created": ago(50 * HOUR), "State": "exited", "Status": "Exited (0) 3 hours ago",
            "SizeRw": 0, "SizeRootFs": 0, "Ports": [], "Labels": {}, "NetworkSettings": {"Networks": {}},
            "Mounts": [{"Name": "data", "Source": "/v/data", "Driver": "local", "Type": "volume"}],
        },
    ])
}

fn images() -> serde_json::Value {
    object!([
        {
            "Id": format!("sha256:{}", id('1')), "RepoTags": ["registry.example.com/a-rather-long-team/web:stable"],
            "RepoDigests": [format!("registry.example.com/a-rather-long-team/web@sha256:{}", id('c'))], "Created": ago(30 * HOUR), "Size": 61_234_567,
            "SharedSize": 1000, "Containers": 1, "ParentId": "", "Labels": null,
        },
        {
            "Id": format!("sha256:{}", id('2')), "RepoTags": ["mariadb:latest"], "RepoDigests": [],
            "Created": ago(24 * 20 * HOUR), "Size": 401_234_567, "SharedSize": 1000, "Containers": 1, "ParentId": "",
            "Labels": null,
        },
    ])
}

fn volumes() -> serde_json::Value {
    object!([
        {"Name": "data", "Driver": "local", "Mountpoint": "/v/data", "Labels": null, "Scope": "local", "Options": null,
         "CreatedAt": stamp(HOUR), "UsageData": {"Size": 2_000_000, "RefCount": 1}},
        {"Name": id('d'), "Driver": "local", "Mountpoint": "/v/d", "Labels": null, "Scope": "local", "Options": null,
         "CreatedAt": stamp(HOUR), "UsageData": {"Size": 0, "RefCount": 0}},
    ])
}

/// One of everything.
fn daemon(request: &Recorded) -> Reply {
    let path = request.path.split('?').next().unwrap_or_default();
    let failed = |status, message: &str| json(status, object!({ "message": message }));
    let found = match (request.method.as_str(), path) {
        (_, "/_ping") => return empty(200),
        (_, "/info") => object!({ "Swarm": { "LocalNodeState": "inactive" } }),
        (_, "/containers/json") => containers(),
        (_, "/images/json") => images(),
        (_, "/volumes") => object!({ "Volumes": volumes(), "Warnings": null }),
        (_, "/networks") => object!([
            {"Name": "bridge", "Id": id('8'), "Created": stamp(HOUR), "Scope": "local", "Driver": "bridge"},
            {"Name": "a-project-with-a-name_frontend", "Id": id('9'), "Created": stamp(HOUR), "Scope": "local", "Driver": "bridge"},
        ]),
        (_, "/plugins") => object!([
            {"Id": id('7'), "Name": "vieux/sshfs:latest", "Enabled": false, "PluginReference": "docker.io/vieux/sshfs:latest",
             "Config": {"Description": "sshFS plugin for Docker, with a description that goes on"}, "Settings": {}},
        ]),
        (_, "/images/web/history") => object!([
            {"Id": format!("sha256:{}", id('1')), "Created": ago(30 * HOUR), "Size": 0, "Comment": "buildkit.dockerfile.v0",
             "CreatedBy": "CMD [\"httpd\" \"-f\" \"-p\" \"80\" \"-h\" \"/srv/www\"]", "Tags": null},
            {"Id": "<missing>", "Created": ago(24 * 20 * HOUR), "Size": 4_261_234, "Comment": "", "CreatedBy": "ADD rootfs.tar /", "Tags": null},
        ]),
        (_, "/images/search") => object!([
            {"name": "httpd", "description": "The Apache HTTP Server Project", "star_count": 4800, "is_official": true, "is_automated": false},
            {"name": "someone/httpd", "description": "A web server with a description\nthat goes on for longer than a column",
             "star_count": 3, "is_official": false, "is_automated": false},
        ]),
        (_, "/system/df") => object!({
            "LayersSize": 462_000_000, "Images": images(), "Containers": containers(), "Volumes": volumes(),
            "BuildCache": [{"ID": "mpn1mpn1mpn1mpn1mpn1mpn1m", "Type": "regular", "Size": 52_000_000, "InUse": false,
                            "Shared": false, "Description": "RUN make", "CreatedAt": stamp(5 * HOUR),
                            "LastUsedAt": stamp(HOUR), "UsageCount": 2, "Parents": null}],
        }),
        (_, "/containers/web/json") => object!({
            "Id": id('a'), "Name": "/web", "Image": format!("sha256:{}", id('1')), "Created": stamp(HOUR),
            "State": {"Status": "running", "Running": true, "Pid": 12}, "Config": {"Tty": false, "Image": "web"},
            "HostConfig": {}, "Mounts": [],
            "NetworkSettings": {"Networks": {}, "Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}, {"HostIp": "::", "HostPort": "8080"}]}},
        }),
        (_, "/containers/web/top") => object!({
            "Titles": ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"],
            "Processes": [["root", "4021", "4000", "0", "09:12", "?", "00:00:00", "httpd -f -p 80 -h /srv/www"],
                          ["root", "4077", "4021", "0", "09:13", "pts/0", "00:00:01", "sh"]],
        }),
        (_, "/containers/web/changes") => object!([
            {"Path": "/srv", "Kind": 0}, {"Path": "/srv/www/index.html", "Kind": 1}, {"Path": "/tmp/old", "Kind": 2},
        ]),
        (_, "/containers/web/stats") => object!({
            "name": "/web", "id": id('a'), "read": stamp(0), "preread": stamp(1),
            "cpu_stats": {"cpu_usage": {"total_usage": 3_000_000_000_u64}, "system_cpu_usage": 20_000_000_000_u64, "online_cpus": 2},
            "precpu_stats": {"cpu_usage": {"total_usage": 2_000_000_000_u64}, "system_cpu_usage": 16_000_000_000_u64, "online_cpus": 2},
            "memory_stats": {"usage": 50_000_000, "limit": 2_000_000_000, "stats": {"inactive_file": 10_000_000}},
            "pids_stats": {"current": 3}, "networks": {"eth0": {"rx_bytes": 1500, "tx_bytes": 250_000}},
            "blkio_stats": {"io_service_bytes_recursive": [{"op": "read", "value": 4096}, {"op": "write", "value": 1_048_576}]},
        }),
        ("POST", "/containers/prune") => object!({"ContainersDeleted": [id('b')], "SpaceReclaimed": 12_345_678}),
        ("POST", "/images/prune") => {
            object!({"ImagesDeleted": [{"Untagged": "web:1"}, {"Deleted": format!("sha256:{}", id('1'))}], "SpaceReclaimed": 61_234_567})
        }
        ("POST", "/volumes/prune") => object!({"VolumesDeleted": ["data"], "SpaceReclaimed": 2_000_000}),
        ("POST", "/networks/prune") => object!({ "NetworksDeleted": ["front"] }),
        ("POST", "/build/prune") => {
            object!({"CachesDeleted": ["mpn1mpn1mpn1mpn1mpn1mpn1m"], "SpaceReclaimed": 52_000_000})
        }
        (_, "/hoist/images/web/log") => object!([
            {"Back": 0, "Image": format!("sha256:{}", id('1')), "Since": "2026-01-02T03:04:05Z", "Size": 61_234_567},
            {"Back": 1, "Image": format!("sha256:{}", id('3')), "Since": "", "Size": 60_000_000},
        ]),
        ("POST", "/containers/create") => {
            return failed(
                409,
                "Conflict. The container name \"/web\" is already in use by container \"aaaa\". You have to remove (or rename) that container to be able to reuse that name.",
            );
        }
        ("POST", "/containers/web/exec") => return failed(409, "container aaaa is not running"),
        ("GET", path) if path.starts_with("/images/") => return failed(404, "No such image: nothing:latest"),
        _ => return failed(404, "No such container: nothing"),
    };
    json(200, found)
}

/// A program that plays docker, and what is left of the environment.
fn command(stub: &Stub, name: &str, line: &str) -> Command {
    let mut command = match std::env::var_os("CLIENT").filter(|_| name == "docker") {
        Some(other) => {
            let mut command = Command::new(other);
            command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent").env("TZ", "UTC");
            command.stdin(Stdio::null());
            command
        }
        None => stub.command(name),
    };
    // A table is as wide as what is in it.
    let host = if line.starts_with("context ") { "unix:///run/stub.sock".to_owned() } else { stub.host() };
    command.env_remove("HOIST_HOST").env("DOCKER_HOST", host).env("DOCKER_CLI_HINTS", "false");
    command.env("TERM", "xterm").args(words_of(line));
    command
}

/// Words of a line; single quotes keep blanks.
fn words_of(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in line.chars() {
        match letter {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            other => words.last_mut().expect("one").push(other),
        }
    }
    words
}

/// Compares with a file of `data/widths/`, or writes it. What is the same at several widths stands there once.
fn check(file: &str, name: &str, lines: &[&str], tidy: impl Fn(&str) -> String) {
    let stub = Stub::start(|request, _| daemon(request));
    let host = stub.host();
    let mut all = String::new();
    for line in lines {
        let mut shown: Vec<(String, String)> = Vec::new();
        for width in WIDTHS {
            let words = width.map_or_else(|| "none".to_owned(), |width| width.to_string());
            let what = tidy(&printed(command(&stub, name, line), width).replace(&host, "unix:///stub"));
            match shown.iter_mut().find(|(_, known)| *known == what) {
                Some((widths, _)) => widths.push_str(&format!(" {words}")),
                None => shown.push((words, what)),
            }
        }
        for (widths, what) in shown {
            all.push_str(&format!("=== {name} {line} ({widths})\n{what}"));
        }
    }
    let path = format!("{}/tests/data/widths/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("HOIST_BLESS").is_some() {
        std::fs::write(&path, &all).expect("written");
    }
    let expect = std::fs::read_to_string(&path).expect("the file");
    let sections = |text: &str| text.split("=== ").map(str::to_owned).collect::<Vec<_>>();
    for (ours, theirs) in sections(&all).iter().zip(sections(&expect)) {
        assert_eq!(*ours, theirs, "{file}");
    }
    assert_eq!(all.len(), expect.len(), "{file} has another number of sections");
}

/// What is Docker's, but not ours, with the reason in `coverage.rs`, or is another command here (`volume update`); and what docker shows with an experimental daemon only.
const OTHERS: [&str; 7] = ["trust", "bake", "volume update", "completion", "build", "help", "checkpoint"];

/// Every spelling of `data/cli.tsv` with a page of its own.
fn commands() -> Vec<String> {
    let path = format!("{}/tests/data/cli.tsv", env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(path).expect("table");
    let names = table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split('\t').next());
    let other = |name: &str| {
        name.is_empty()
            || OTHERS.iter().any(|other| {
                name == *other || name.starts_with(&format!("{other} ")) || name.ends_with(&format!(" {other}"))
            })
    };
    // A management command lists what the program has, which is more than Docker's.
    let groups: Vec<&str> = table.lines().filter_map(|line| line.split_once(' ').map(|(group, _)| group)).collect();
    names.filter(|name| !other(name) && !groups.contains(name)).map(str::to_owned).collect()
}

/// Without what docker says of itself: that its own builder is to be replaced, and that some commands are new.
fn tidy(text: &str) -> String {
    const LEGACY: &str = "DEPRECATED: The legacy builder is deprecated and will be removed in a future release.\n            \
                          Install the buildx component to build images with BuildKit:\n            https://docs.docker.com/go/buildx/\n\n";
    let text = text.replace(LEGACY, "");
    let Some((before, rest)) = text.split_once("\nEXPERIMENTAL:\n") else { return text };
    match rest.split_once("\n\n") {
        Some((_, after)) => format!("{before}\n{after}"),
        None => before.to_owned(),
    }
}

/// Flags that Docker has not, in pages that are otherwise Docker's.
const OURS: [&str; 2] = ["      --exposure  ", "      --trace "];

#[test]
fn pages() {
    let lines: Vec<String> = commands().iter().map(|name| format!("{name} --help")).collect();
    assert!(lines.len() > 100, "{} commands", lines.len());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    check("pages.txt", "docker", &lines, |page| {
        let mut own = false;
        let page: String = tidy(page)
            .split_inclusive('\n')
            .filter(|line| {
                // What is broken to several lines goes on without a dash.
                let flag = line.trim_start().starts_with('-');
                own = OURS.iter().any(|name| line.contains(name)) || (own && !flag && line.starts_with("   "));
                !own
            })
            .collect();
        // A page whose only option is ours.
        page.strip_suffix("\nOptions:\n").map(str::to_owned).unwrap_or(page)
    });
    if std::env::var_os("CLIENT").is_some() {
        return;
    }
    // Under our own name the same.
    let stub = Stub::start(|_, _| empty(404));
    for line in lines {
        let page = |name: &str| printed(command(&stub, name, line), None);
        let theirs = page("docker")
            .replace("  docker ", "  hoist ")
            .replace("\tdocker ", "\thoist ")
            .replace(", docker ", ", hoist ");
        assert_eq!(page("hoist"), theirs, "{line}");
    }
}

#[test]
fn tables() {
    let lines = [
        "ps -a",
        "ps -as",
        "ps -aq",
        "ps -a --no-trunc",
        "images",
        "images --digests",
        "images -q",
        "history web",
        "history --no-trunc web",
        "network ls",
        "network ls --no-trunc",
        "volume ls",
        "plugin ls",
        "context ls",
        "search httpd",
        "search --no-trunc httpd",
        "system df",
        "system df -v",
        "stats --no-stream web",
        "top web",
        "diff web",
        "port web",
        "container prune -f",
        "image prune -f",
        "volume prune -f",
        "network prune -f",
        "builder prune -f",
        "ps -a --format 'table {{.Names}}\\t{{.Status}}\\t{{.Label \"stage\"}}'",
        "volume ls --format json",
    ];
    check("tables.txt", "docker", &lines, tidy);
}

#[test]
fn errors() {
    let lines = [
        "container nonsense",
        "ps --frmat x",
        "ps -z",
        "ps extra",
        "rm",
        "cp web:/a",
        "run -m lots web",
        "run --restart sometimes web",
        "run -it --attach nowhere web",
        "run --name web web",
        "exec web ls",
        "inspect nothing",
        "logs nothing",
        "rmi nothing",
        "stop nothing nobody",
        "network rm nothing",
        "ps --filter nonsense",
        "ps --format '{{.Nothing}}'",
        "ps --format '{{'",
        "tag a",
        "container prune --filter nonsense -f",
        "-H tcp://127.0.0.1:1 ps",
        "-H 127.0.0.1:1 ps",
        "-c nowhere ps",
        "--log-level loud ps",
    ];
    check("errors.txt", "docker", &lines, str::to_owned);
}

#[test]
fn own() {
    let lines = [
        "ps -a",
        "ps -as",
        "ps -a --exposure",
        "volume ls --json",
        "images --tree",
        "image log web",
        "image log --json web",
        "image log -q web",
        "psx",
        "container lss",
        "imges",
        "run -name web web",
        "ps --frmat x",
        "run --publsh 80 web",
        "rm --nonsense web",
        "inspect nothing",
        "ps -H",
        "-H unix:///nonexistent/socket ps",
        "-H quic://127.0.0.1:1 ps",
        "help topics",
        "help filters",
        "help contexts",
        "help configuration",
        "help environment",
        "help exit-status",
        "help formatting",
        "help nonsense",
        "node ls --help",
        "swarm init",
        "trust sign web",
        "explain --help",
        "doctor --help",
        "system fsck --help",
        "system verify --help",
        "image log --help",
        "image pin --help",
        "image unpin --help",
        "image rollback --help",
        "volume export --help",
        "volume import --help",
        "volume clone --help",
        "volume update --help",
        "port add --help",
        "port rm --help",
        "man --help",
        "completion --help",
        "registry --help",
        "registry serve --help",
        "registry ls --help",
        "registry tags --help",
        "registry rm --help",
        "registry gc --help",
        "registry du --help",
        "container --help",
        "image --help",
        "network --help",
        "volume --help",
        "system --help",
        "builder --help",
        "build --help",
    ];
    check("own.txt", "hoist", &lines, str::to_owned);
}
