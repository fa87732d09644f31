//! BuildKit's own integration tests of its Dockerfile frontend, against hoistd in the place of dockerd.
//!
//! ```text
//!  go test (frontend/dockerfile) ── starts "dockerd" ──▶ a script that starts hoistd with the flags both have
//!        │                                                  │
//!        └── its client ── POST /grpc, POST /session ───────┘     images: stand-ins, in a registry that is its mirror
//! ```
//!
//! The tests and the library they use are those of one release from Go's module proxy. Each behaviour with its verdict is
//! in `docs/buildkit-behaviours.tsv`; a run is compared with it, so that what gets better or worse is named.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::json;
use testkit::images::{self, Layer};
use testkit::registry::Registry;
use testkit::{programs, tar};

use crate::packages;
use crate::steps::{self, step};

const MODULE: &str = "github.com/moby/buildkit";
/// The release whose library buildx 0.36 has.
const VERSION: &str = "v0.32.2";

/// What is known of each behaviour.
const KNOWN: &str = include_str!("../../../docs/buildkit-behaviours.tsv");

/// Tests that need images of Docker Hub themselves, and end the whole run without them.
const WITHOUT: &str = "TestReproSourceDateEpoch|TestSourceDateEpoch|TestWorkdirSourceDateEpochReproducible|TestInsecureDevicesWhitelist|TestRunSecurity";

/// The flags of dockerd that mean the same here; the others are about containerd, TLS and logging.
const DOCKERD: &str = r#"#!/bin/sh
set -- "$@" END
while [ "$1" != END ]; do
  case $1 in
    --data-root|--exec-root|--pidfile|--host) set -- "$@" "$1" "$2"; shift 2;;
    --config-file)
      mirror=$(grep -o '"http://[^"]*"' "$2" | tr -d '"' | head -1); shift 2
      [ -z "$mirror" ] || set -- "$@" --registry-mirror "$mirror";;
    --containerd-namespace|--containerd-plugins-namespace) shift 2;;
    *) shift;;
  esac
done
shift
exec "$HOIST_BIN_DIR/hoistd" "$@" --log-level warn
"#;

/// busybox' own, which Debian's build of it lacks.
const ADDUSER: &str = r#"#!/bin/sh
uid= group= name= system=
while [ $# -gt 0 ]; do
  case $1 in -u) uid=$2; shift 2;; -G) group=$2; shift 2;; -h|-s|-g) shift 2;; -S) system=1; shift;; -*) shift;; *) name=$1; shift;; esac
done
if [ -z "$uid" ]; then
  uid=1000; [ -z "$system" ] || uid=100
  while grep -q "^[^:]*:[^:]*:$uid:" /etc/passwd; do uid=$((uid+1)); done
fi
if [ -n "$group" ]; then gid=$(grep "^$group:" /etc/group | cut -d: -f3); elif [ -n "$system" ]; then gid=65533
else gid=$uid; echo "$name:x:$gid:" >> /etc/group; fi
echo "$name:x:$uid:$gid:Linux User,,,:/home/$name:/bin/sh" >> /etc/passwd
mkdir -p "/home/$name"; chown "$uid:$gid" "/home/$name"
"#;

const ADDGROUP: &str = r#"#!/bin/sh
gid= name=
while [ $# -gt 0 ]; do case $1 in -g) gid=$2; shift 2;; -*) shift;; *) [ -n "$name" ] || name=$1; shift;; esac; done
if [ -z "$gid" ]; then gid=1000; while grep -q "^[^:]*:[^:]*:$gid:" /etc/group; do gid=$((gid+1)); done; fi
echo "$name:x:$gid:" >> /etc/group
"#;

pub fn run(words: &[&str]) -> Result<ExitCode> {
    if !programs::is_root() {
        bail!("containers need root: run it as root");
    }
    let pattern = match words {
        [] => "Test.*",
        [pattern] => pattern,
        other => bail!("one pattern at most: {}", other.join(" ")),
    };
    packages::unpack("docker-registry", &["docker-registry"])?;
    let scratch = programs::cache().join("buildkit-suite");
    let (tests, source) = step("Fetching and building the suite (once; kept in the cache)", || fetch(&scratch))?;
    if std::env::var_os("HOIST_BIN_DIR").is_none() {
        let mut build = steps::cargo(&["build", "--quiet", "-p", "hoist", "-p", "hoistd", "-p", "hoist-runtime"]);
        step("Building", || steps::run(&mut build))?;
    }
    let mirror = step("Stand-in images", || stand_ins(&scratch))?;
    let log = scratch.join("output.txt");
    let found = step("The suite", || judge(&scratch, &tests, &source, &mirror, pattern, &log))?;
    println!("Output: {}", log.display());
    compare(&found)
}

/// The tests as a program, and the directory that they are run in.
fn fetch(scratch: &Path) -> Result<(PathBuf, PathBuf)> {
    programs::need("go", "golang-go")?;
    let source = scratch.join(format!("source-{VERSION}"));
    let tests = scratch.join(format!("dockerfile-{VERSION}.test"));
    let programs = scratch.join("bin");
    fs::create_dir_all(&programs)?;
    if !tests.is_file() || !programs.join("buildctl").is_file() {
        let modules = Command::new("go").args(["mod", "download", "-json", &format!("{MODULE}@{VERSION}")]).output()?;
        let answer: serde_json::Value = serde_json::from_slice(&modules.stdout).context("go mod download")?;
        let Some(directory) = answer["Dir"].as_str() else { bail!("go mod download: {}", answer["Error"]) };
        let _ = fs::remove_dir_all(&source);
        steps::run(Command::new("cp").args(["-r", "--no-preserve=mode"]).arg(directory).arg(&source))?;
        let mut go = Command::new("go");
        steps::run(go.args(["test", "-c", "-o"]).arg(&tests).arg("./frontend/dockerfile").current_dir(&source))?;
        let mut go = Command::new("go");
        let buildctl = programs.join("buildctl");
        steps::run(go.args(["build", "-o"]).arg(buildctl).arg("./cmd/buildctl").current_dir(&source))?;
    }
    let script = |name: &str, text: &str| -> Result<()> {
        let path = programs.join(name);
        fs::write(&path, text)?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?)
    };
    script("dockerd", DOCKERD)?;
    let _ = fs::remove_file(programs.join("registry"));
    symlink(programs::need("docker-registry", "docker-registry")?, programs.join("registry"))?;
    Ok((tests, source.join("frontend/dockerfile")))
}

/// A registry's directory with images in the place of Docker Hub's; the suite serves it itself.
fn stand_ins(scratch: &Path) -> Result<PathBuf> {
    let mirror = scratch.join("mirror");
    let registry = Registry::start(&mirror)?;
    let mut users = tar::Builder::new();
    users.file("bin/adduser", 0o755, ADDUSER.as_bytes()).file("bin/addgroup", 0o755, ADDGROUP.as_bytes());
    users.file(
        "etc/group",
        0o644,
        b"root:x:0:root\ndaemon:x:1:\nadm:x:4:\nwheel:x:10:root\nwww:x:33:\nnogroup:x:65533:\nnobody:x:65534:\n",
    );
    let busybox = images::busybox()?.with_layer(Layer::of_tar(&users.finish()));
    let mut release = tar::Builder::new();
    release.file("etc/os-release", 0o644, b"ID=alpine\nNAME=\"Alpine Linux\"\n");
    release.file("etc/alpine-release", 0o644, b"3.22.1\n");
    let alpine = busybox.with_layer(Layer::of_tar(&release.finish())).with_config(json!({"Cmd": ["/bin/sh"]}));
    for (name, tag, image) in
        [("busybox", "latest", &busybox), ("busybox", "stable-musl", &busybox), ("alpine", "latest", &alpine)]
    {
        registry.push(&format!("library/{name}"), tag, image)?;
    }
    drop(registry);
    let config = json!({
        "version": "0.1",
        "log": {"level": "debug"},
        "storage": {"filesystem": {"rootdirectory": mirror.join("storage")}},
        "http": {"addr": "127.0.0.1:0"},
    });
    fs::write(mirror.join("config.yaml"), config.to_string())?;
    Ok(mirror)
}

/// Verdicts by test.
fn judge(
    scratch: &Path,
    tests: &Path,
    source: &Path,
    mirror: &Path,
    pattern: &str,
    log: &Path,
) -> Result<BTreeMap<String, String>> {
    let temporary = scratch.join("tmp");
    let _ = fs::remove_dir_all(&temporary);
    fs::create_dir_all(&temporary)?;
    let products = programs::product("hoistd")?.parent().map(Path::to_path_buf).context("where the programs are")?;
    let path = std::env::var("PATH").unwrap_or_default();
    let output = fs::File::create(log)?;
    // The suite kills its daemons: their processes, links and rules end with these namespaces.
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private", "--"])
        .args(["sh", "-c", "ip link set lo up; exec \"$0\" \"$@\""])
        .arg(tests)
        .args(["-test.v", "-test.parallel", "1", "-test.timeout", "60m", "-test.skip"])
        .arg(format!("TestIntegration/({WITHOUT})"))
        .arg("-test.run")
        .arg(format!("TestIntegration/{pattern}/worker=dockerd-containerd"))
        .current_dir(source)
        .env("PATH", format!("{}:{}:{path}", scratch.join("bin").display(), products.display()))
        .env("HOIST_BIN_DIR", &products)
        .env("TEST_DOCKERD", "1")
        .env("FRONTEND_BUILTIN_ONLY", "1")
        .env("BUILDKIT_REGISTRY_MIRROR_DIR", mirror)
        .env("TMPDIR", &temporary)
        .stdout(output.try_clone()?)
        .stderr(output);
    // Failures are what this is about.
    let _ = command.status().context("cannot run the suite")?;
    testkit::daemon::clean_leftovers()?;
    let text = String::from_utf8_lossy(&fs::read(log)?).into_owned();
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("    --- ")) {
        let Some((verdict, rest)) = line.split_once(": TestIntegration/") else { continue };
        let name = rest.split('/').next().unwrap_or_default().to_owned();
        let worse = found.get(&name).is_none_or(|known| known == "SKIP" || verdict == "FAIL");
        if worse {
            found.insert(name, verdict.to_owned());
        }
    }
    let _ = fs::remove_dir_all(&temporary);
    if found.is_empty() {
        bail!("the suite says nothing of its tests; see {}", log.display());
    }
    Ok(found)
}

/// What is different from what is written down.
fn compare(found: &BTreeMap<String, String>) -> Result<ExitCode> {
    let count = |word: &str| found.values().filter(|verdict| *verdict == word).count();
    println!("passed {}, failed {}, skipped {} of {}", count("PASS"), count("FAIL"), count("SKIP"), found.len());
    let mut worse = 0;
    for (name, verdict) in found {
        let known = KNOWN.lines().find_map(|line| line.strip_prefix(&format!("{name}\t")));
        let known = known.and_then(|rest| rest.split('\t').next()).unwrap_or("unknown");
        match (known, verdict.as_str()) {
            ("holds", "FAIL") => {
                worse += 1;
                println!("fails, and is said to hold: {name}");
            }
            ("differs" | "unknown", "PASS") => println!("passes, and is said to be {known}: {name}"),
            _ => {}
        }
    }
    Ok(if worse == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
