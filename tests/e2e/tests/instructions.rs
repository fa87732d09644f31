//! What instructions of a Dockerfile take from elsewhere: repositories, archives of the web, devices, stages, directories
//! with names; and what a Dockerfile says of itself.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use testkit::harness::{Lab, Test, skip};
use testkit::{process, programs, tests};

use crate::buildkit::{Bench, Tool};
use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![hoist only:
    buildx_fills_caches,
    hoist_build_fills_caches,
    buildx_unpacks_archives_of_the_web,
    hoist_build_unpacks_archives_of_the_web,
    buildx_takes_repositories_of_files,
    hoist_build_takes_repositories_of_files,
    buildx_gives_devices,
    hoist_build_gives_devices,
    buildx_begins_with_a_directory,
    hoist_build_begins_with_a_directory,
    buildx_sends_what_is_copied,
    hoist_build_sends_what_is_copied,
    buildx_takes_layouts,
    hoist_build_takes_layouts,
    hoist_build_takes_a_context_for_each_platform,
    buildx_triggers_name_stages,
    hoist_build_triggers_name_stages,
    docker_build_knows_the_steps_of_images,
    buildx_tells_no_secret,
    hoist_build_tells_no_secret,
    buildx_makes_where_nothing_matches,
    hoist_build_makes_where_nothing_matches,
    buildx_gives_blobs,
    hoist_build_gives_blobs,
    buildx_takes_contexts_of_the_web,
    buildx_says_what_a_target_takes,
    hoist_build_says_what_a_target_takes,
];

const PATIENCE: Duration = Duration::from_secs(120);

by_both! {
    fills_caches: buildx_fills_caches hoist_build_fills_caches,
    unpacks_archives_of_the_web: buildx_unpacks_archives_of_the_web hoist_build_unpacks_archives_of_the_web,
    takes_repositories_of_files: buildx_takes_repositories_of_files hoist_build_takes_repositories_of_files,
    gives_devices: buildx_gives_devices hoist_build_gives_devices,
    begins_with_a_directory: buildx_begins_with_a_directory hoist_build_begins_with_a_directory,
    sends_what_is_copied: buildx_sends_what_is_copied hoist_build_sends_what_is_copied,
    takes_layouts: buildx_takes_layouts hoist_build_takes_layouts,
    triggers_name_stages: buildx_triggers_name_stages hoist_build_triggers_name_stages,
    tells_no_secret: buildx_tells_no_secret hoist_build_tells_no_secret,
    makes_where_nothing_matches: buildx_makes_where_nothing_matches hoist_build_makes_where_nothing_matches,
    gives_blobs: buildx_gives_blobs hoist_build_gives_blobs,
    says_what_a_target_takes: buildx_says_what_a_target_takes hoist_build_says_what_a_target_takes,
}

/// Whether a step has said a line.
fn said(output: &str, line: &str) -> bool {
    output.lines().any(|found| found.ends_with(&format!(" {line}")) && !found.contains("RUN"))
}

fn fills_caches(lab: &mut Lab, tool: Tool) -> Result<()> {
    let step = |mount: &str, word: &str| {
        format!(
            "FROM base AS seed\nRUN mkdir -p /seed/deep && echo grown > /seed/deep/file && ln -s deep/file /seed/link && chown 7 /seed/deep\n\
             FROM base\nRUN --mount=type=cache,target=/cache,{mount} cat /cache/link && touch /cache/{word} && \
             echo has $(ls /cache | tr '\\n' ' ') of $(stat -c %u /cache/deep)\n"
        )
    };
    let bench = Bench::of(tool, lab, &[("Dockerfile", &step("from=seed,source=/seed", "one"))])?;
    let first = bench.ok("build CTX")?;
    ensure!(said(&first, "grown") && said(&first, "has deep link one of 7"), "{first}");
    // What was written stays; the stage that it came from does not change.
    bench.write(&[("Dockerfile", &step("from=seed,source=/seed", "two"))])?;
    let second = bench.ok("build CTX")?;
    ensure!(said(&second, "has deep link one two of 7"), "{second}");
    // A path that is not there, and one in a cache that begins empty.
    for mount in ["from=seed,source=/none", "source=/none"] {
        bench.write(&[("Dockerfile", &step(mount, "x"))])?;
        has(&bench.run("build CTX")?.code(1)?.stderr, "\"/none\": not found")?;
    }
    // What a cache begins with is a step: --no-cache does it anew, and the cache with it.
    let plain = |mount: &str, word: &str| {
        format!(
            "FROM base\nRUN --mount=type=cache,target=/c{mount} touch /c/{word} && echo has $(ls /c | tr '\\n' ' ')\n"
        )
    };
    for (mount, after) in [(",mode=0773", "has b"), ("", "has a b")] {
        bench.write(&[("Dockerfile", &plain(mount, "a"))])?;
        ensure!(said(&bench.ok("build CTX")?, "has a"), "{mount}");
        bench.write(&[("Dockerfile", &plain(mount, "b"))])?;
        let anew = bench.ok("build --no-cache CTX")?;
        ensure!(said(&anew, after), "{anew}");
        bench.write(&[("Dockerfile", &plain(mount, "c"))])?;
        let after = format!("{after} c");
        ensure!(said(&bench.ok("build CTX")?, &after), "{after}");
    }
    Ok(())
}

/// Serves the files below a directory, on a thread that ends with the test.
fn serve(root: PathBuf) -> Result<String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let root = root.clone();
            std::thread::spawn(move || {
                let mut lines = BufReader::new(&client).lines();
                let first = lines.next().and_then(Result::ok).unwrap_or_default();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                let path = first.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
                let file = fs::read(root.join(path.trim_start_matches('/')));
                let (status, body) = file.map_or(("404 Not Found", Vec::new()), |body| ("200 OK", body));
                let length = body.len();
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
                // A client that has gone has nothing to hear.
                let _ = (&client).write_all(head.as_bytes()).and_then(|()| (&client).write_all(&body));
            });
        }
    });
    Ok(address)
}

fn unpacks_archives_of_the_web(lab: &mut Lab, tool: Tool) -> Result<()> {
    let bench = Bench::of(tool, lab, &[])?;
    let folder = bench.home.join("web");
    fs::create_dir_all(&folder)?;
    let archive = testkit::tar::Builder::new().file("inner", 0o640, b"of the archive\n").finish();
    fs::write(folder.join("a.tar"), &archive)?;
    fs::write(folder.join("a.tgz"), testkit::tar::gzip(&archive))?;
    fs::write(folder.join("plain"), "no archive\n")?;
    let address = serve(folder)?;
    for (flags, file, shown) in [
        ("--unpack=true", "a.tgz", "cat /there/inner"),
        ("--unpack --chown=3:4", "a.tar", "cat /there/inner; test $(stat -c %u:%g /there/inner) = 3:4"),
        ("--unpack=false", "a.tgz", "test -f /there/a.tgz && echo of the archive"),
        ("", "a.tgz", "test -f /there/a.tgz && echo of the archive"),
        // As it is, if it is none.
        ("--unpack=true", "plain", "test -f /there/plain && echo of the archive"),
    ] {
        bench.write(&[("Dockerfile", &format!("FROM base\nADD {flags} {address}/{file} /there/\nRUN {shown}\n"))])?;
        let output = bench.ok("build --no-cache CTX").with_context(|| format!("{flags} {file}"))?;
        ensure!(said(&output, "of the archive"), "{flags} {file}: {output}");
    }
    Ok(())
}

/// A repository as files behind a web server that knows nothing of it: its address, and its first commit.
fn repository(home: &Path) -> Result<(String, String)> {
    let root = home.join("served");
    let script = "set -e; export GIT_CONFIG_NOSYSTEM=1 HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        export GIT_AUTHOR_DATE='1700000000 +0000' GIT_COMMITTER_DATE='1700000000 +0000'
        git init -q -b main work; cd work; mkdir deep; echo first > file; echo inside > deep/only
        printf 'FROM base\\nCOPY . /src\\nRUN cat /src/file; ls -a /src; stat -c time=%%Y /src/file\\n' > Dockerfile
        printf 'FROM base\\nCOPY only /only\\nRUN cat /only\\n' > deep/Dockerfile
        git add .; git commit -qm one; git tag -am tagged v1; git rev-parse HEAD > ../commit; git rev-parse v1 > ../tag
        echo second > file; git commit -qam two; git branch other HEAD~1; cd ..
        git clone -q --bare work app.git; cd app.git; git update-server-info";
    fs::create_dir_all(&root)?;
    process::run(Command::new("sh").args(["-c", script]).current_dir(&root), PATIENCE)?.ok()?;
    let commit = fs::read_to_string(root.join("commit"))?.trim().to_owned();
    Ok((format!("{}/app.git", serve(root)?), commit))
}

fn takes_repositories_of_files(lab: &mut Lab, tool: Tool) -> Result<()> {
    if programs::find("git").is_none() {
        return skip("git is not installed");
    }
    let bench = Bench::of(tool, lab, &[])?;
    let (app, commit) = repository(&bench.home)?;
    let tag = fs::read_to_string(bench.home.join("served/tag"))?.trim().to_owned();
    let short = &commit[..12];
    for (address, line) in [
        (app.clone(), "second"),
        (format!("{app}#v1"), "first"),
        (format!("{app}#{commit}"), "first"),
        (format!("{app}?tag=v1"), "first"),
        (format!("{app}?branch=other"), "first"),
        (format!("{app}?ref=main&subdir=deep"), "inside"),
        (format!("{app}?branch=main#:deep"), "inside"),
        (format!("{app}?ref=other&commit={short}"), "first"),
        (format!("{app}?tag=v1&checksum={tag}"), "first"),
        (format!("{app}?commit={commit}&fetch-by-commit=true"), "first"),
        (format!("{app}?tag=v1&keep-git-dir=true"), ".git"),
        (format!("{app}?tag=v1&mtime=commit"), "time=1700000000"),
    ] {
        // buildx looks into them for a policy first, with definitions of its own.
        let output = bench.ok(&format!("build --no-cache '{address}'"))?;
        ensure!(said(&output, line), "{address}: {output}");
    }
    for (query, text) in [
        ("?tag=v1&commit=00ff", "expected checksum to match 00ff, got "),
        ("?tag=v1&branch=main", "branch conflicts with tag"),
        ("?branch=nowhere", "repository does not contain ref refs/heads/nowhere"),
        ("?nonsense=1", "unexpected query \"nonsense\""),
    ] {
        let failure = bench.run(&format!("build '{app}{query}'"))?;
        ensure!(failure.code != 0, "{query}");
        has(&failure.stderr, text)?;
    }
    // As a source of an instruction.
    for (add, text) in [
        (format!("ADD --checksum={short} {app}#other /x/"), Ok("first")),
        (format!("ADD --checksum={commit} --keep-git-dir=true {app}#v1 /x/"), Ok(".git")),
        (format!("ADD --exclude=deep {app}?tag=v1 /x/"), Ok("Dockerfile")),
        (format!("ADD --checksum={short} {app}#main /x/"), Err("expected checksum to match")),
        (format!("ADD --checksum=notacommit {app}#main /x/"), Err("invalid checksum notacommit for Git URL")),
        (format!("ADD --checksum={short} {app}?commit=00ff#other /x/"), Err("checksum mismatch")),
        (format!("ADD --keep-git-dir=false {app}?keep-git-dir=1 /x/"), Err("inconsistent keep-git-dir")),
        (format!("COPY {app} /x/"), Err("source can't be a git ref for COPY")),
        (format!("ADD --checksum={short} {app} {app} /x/"), Err("checksum can't be specified for multiple sources")),
        ("ADD --checksum=sha256:00 Dockerfile /x/".to_owned(), Err("checksum requires HTTP(S) or Git sources")),
    ] {
        bench.write(&[("Dockerfile", &format!("FROM base\n{add}\nRUN cat /x/file; ls -a /x\n"))])?;
        let output = bench.run("build --no-cache CTX")?;
        let all = format!("{}{}", output.stdout, output.stderr);
        match text {
            Ok(line) => ensure!(output.code == 0 && said(&all, line), "{add}: {all}"),
            Err(text) => {
                ensure!(output.code != 0, "{add}");
                has(&all, text)?;
                has(&all, "Dockerfile:2")?;
            }
        }
        if add.contains("--exclude") {
            ensure!(!said(&all, "deep"), "{all}");
        }
    }
    Ok(())
}

/// A file outside of the test's own directories, gone with the test.
struct Outside(PathBuf);

impl Drop for Outside {
    fn drop(&mut self) {
        // A directory that others use stays.
        let _ = fs::remove_file(&self.0);
        let _ = self.0.parent().map(fs::remove_dir);
    }
}

fn gives_devices(lab: &mut Lab, tool: Tool) -> Result<()> {
    let bench = Bench::of(tool, lab, &[])?;
    let kind = format!("hoist.test/e2e{}", std::process::id());
    let mounted = bench.home.join("of-the-device");
    fs::write(&mounted, "mounted\n")?;
    let specification = json!({
        "cdiVersion": "0.6.0", "kind": kind, "containerEdits": {"env": ["OF_ALL=all"]},
        "devices": [
            {"name": "one", "annotations": {"org.mobyproject.buildkit.device.class": "hoist.test.class"}, "containerEdits": {
                "env": ["OF_ONE=one"],
                "deviceNodes": [{"path": "/dev/of-one", "hostPath": "/dev/zero", "permissions": "rw", "uid": 11}],
                "mounts": [{"hostPath": mounted, "containerPath": "/mounted", "options": ["ro"]}],
            }},
            {"name": "two", "annotations": {"org.mobyproject.buildkit.device.autoallow": "true"}, "containerEdits": {"env": ["OF_TWO=two"]}},
            {"name": "bad", "containerEdits": {"hooks": [{"hookName": "createContainer", "path": "/bin/true"}]}},
        ],
    });
    let place = Outside(PathBuf::from(format!("/var/run/cdi/hoist-e2e-{}.json", std::process::id())));
    fs::create_dir_all("/var/run/cdi")?;
    fs::write(&place.0, specification.to_string())?;
    let all = "echo env=$OF_ALL$OF_ONE$OF_TWO; cat /mounted 2>/dev/null; ls -l /dev/of-one 2>/dev/null | cut -c1; \
        stat -c owner=%u /dev/of-one 2>/dev/null; head -c3 /dev/of-one 2>/dev/null | wc -c; true";
    for (device, allow, texts) in [
        (format!("{kind}=one"), "--allow device", &["env=allone", "mounted", "c", "owner=11", "3"][..]),
        (format!("{kind}=one,required"), &format!("--allow device={kind}=one"), &["env=allone"]),
        ("hoist.test.class".to_owned(), "--allow device", &["env=allone"]),
        (format!("{kind}=two"), "", &["env=alltwo"]),
        (format!("{kind}=none"), "", &["env="]),
        ("vendor.example/none=x,required=false".to_owned(), "", &["env="]),
    ] {
        bench.write(&[("Dockerfile", &format!("FROM base\nRUN --device={device} {all}\n"))])?;
        let output = bench.ok(&format!("build --no-cache {allow} CTX"))?;
        for text in texts {
            ensure!(said(&output, text), "{device}: {text}: {output}");
        }
    }
    for (device, allow, text) in [
        (
            format!("{kind}=none,required"),
            "--allow device",
            format!("required device \"{kind}=none\" is not registered"),
        ),
        (format!("{kind}=one"), "", format!("device {kind}=one is requested by the build but not allowed")),
        (format!("{kind}=bad"), "--allow device", format!("hooks of the device {kind}=bad is not supported")),
        (format!("{kind}=one,requird"), "", "must be a key=value pair".to_owned()),
    ] {
        bench.write(&[("Dockerfile", &format!("FROM base\nRUN --device={device} true\n"))])?;
        let failure = bench.run(&format!("build {allow} CTX"))?;
        ensure!(failure.code != 0, "{device}");
        has(&failure.stderr, &text)?;
        has(&failure.stderr, "Dockerfile:2")?;
    }
    Ok(())
}

fn begins_with_a_directory(lab: &mut Lab, tool: Tool) -> Result<()> {
    let dockerfile = "FROM tree AS files\nCOPY more /made\nFROM base\nCOPY --from=files / /all\nCOPY --from=tree /d/inner /inner\n\
        RUN cat /all/made /all/d/inner /inner; ls /all\n";
    let bench = Bench::of(tool, lab, &[("Dockerfile", dockerfile), ("more", "of the context\n")])?;
    let tree = bench.home.join("tree");
    fs::create_dir_all(tree.join("d"))?;
    fs::write(tree.join("d/inner"), "of the tree\n")?;
    fs::write(tree.join("hidden"), "hidden\n")?;
    fs::write(tree.join(".dockerignore"), "hidden\n")?;
    let line = "build -t files --target files --build-context tree=HOME/tree CTX";
    bench.ok(line)?;
    let history: Value = serde_json::from_str(&format!(
        "[{}]",
        lab.client.ok("history --format json files")?.lines().collect::<Vec<_>>().join(",")
    ))?;
    eq("layers", history.as_array().map(Vec::len), Some(2))?;
    let output = bench.ok("build --build-context tree=HOME/tree CTX")?;
    ensure!(said(&output, "of the context") && said(&output, "of the tree") && said(&output, "made"), "{output}");
    ensure!(!said(&output, "hidden"), "{output}");
    // The same files are the same layer, whenever they were written.
    let before = lab.client.field("files", "{{json .RootFS.Layers}}")?;
    process::run(Command::new("touch").arg(tree.join("d/inner")), PATIENCE)?.ok()?;
    bench.ok(line)?;
    eq("layers", lab.client.field("files", "{{json .RootFS.Layers}}")?, before)
}

fn sends_what_is_copied(lab: &mut Lab, tool: Tool) -> Result<()> {
    let large = "x".repeat(3_000_000);
    let dockerfile = "FROM base\nCOPY small linked/file part* /x/\nCOPY --from=named one /one\n\
        RUN --mount=source=deep/er,target=/m cat /m/est /x/small /x/file /x/part1 /one; ls /x\n";
    let files = [
        ("Dockerfile", dockerfile),
        ("large", &large),
        ("small", "of small\n"),
        ("real/file", "of a link\n"),
        ("real/other", &large),
        ("part1", "of a part\n"),
        ("deep/er/est", "of the depth\n"),
        ("deep/large", &large),
        ("named/one", "of a name\n"),
        ("named/large", &large),
    ];
    let bench = Bench::of(tool, lab, &files)?;
    let context = bench.home.join("context");
    std::os::unix::fs::symlink("real", context.join("linked"))?;
    let megabytes = |output: &str| output.lines().any(|line| line.contains("transferring ") && line.contains("MB"));
    let output = bench.ok("build --build-context named=CTX/named CTX")?;
    for text in ["of small", "of a link", "of a part", "of the depth", "of a name"] {
        ensure!(said(&output, text), "{text}: {output}");
    }
    ensure!(!megabytes(&output), "what nobody copies was sent: {output}");
    // A path that is only known while it is built, and one that takes all.
    for (copy, line) in [("ARG what=large\nCOPY $what /x/", "large"), ("COPY . /x", "deep")] {
        bench.write(&[("Dockerfile", &format!("FROM base\n{copy}\nRUN ls /x\n"))])?;
        let output = bench.ok("build CTX")?;
        ensure!(said(&output, line), "{copy}: {output}");
    }
    // What is not there is told as ever.
    bench.write(&[("Dockerfile", "FROM base\nCOPY small missing /x/\n")])?;
    has(&bench.run("build CTX")?.code(1)?.stderr, "\"/missing\": not found")
}

fn takes_layouts(lab: &mut Lab, tool: Tool) -> Result<()> {
    let bench = Bench::of(tool, lab, &[("Dockerfile", "FROM base\nRUN echo in the layout > /inner\nENV OF=layout\n")])?;
    bench.ok("build -t example.com/laid:out -o type=oci,dest=HOME/oci.tar CTX")?;
    let layout = bench.home.join("layout");
    fs::create_dir_all(&layout)?;
    let mut untar = Command::new("tar");
    process::run(untar.arg("-xf").arg(bench.home.join("oci.tar")).arg("-C").arg(&layout), PATIENCE)?.ok()?;
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
    let digest = index["manifests"][0]["digest"].as_str().context("a digest")?;
    bench
        .write(&[("Dockerfile", "FROM under\nCOPY --from=under /inner /copied\nRUN cat /inner /copied; echo $OF\n")])?;
    for reference in [String::new(), ":out".to_owned(), format!("@{digest}")] {
        let line = format!("build --no-cache --build-context under=oci-layout://HOME/layout{reference} CTX");
        let output = bench.ok(&line)?;
        ensure!(output.matches("in the layout").count() >= 2 && said(&output, "layout"), "{output}");
    }
    if tool == Tool::Hoist {
        let failure = bench.run("build --build-context under=oci-layout://HOME/layout:other CTX")?;
        ensure!(failure.code != 0, "{}", failure.describe());
        has(&failure.stderr, "could not be resolved")?;
    }
    // A blob that is not what it is called.
    let manifest: Value = serde_json::from_slice(&fs::read(layout.join("blobs").join(digest.replace(':', "/")))?)?;
    let config = manifest["config"]["digest"].as_str().context("a configuration")?;
    let blob = layout.join("blobs").join(config.replace(':', "/"));
    let mut bytes = fs::read(&blob)?;
    if let Some(last) = bytes.last_mut() {
        *last = b' ';
    }
    fs::write(&blob, bytes)?;
    let failure = bench.run("build --no-cache --build-context under=oci-layout://HOME/layout:out CTX")?;
    ensure!(failure.code != 0, "{}", failure.describe());
    has(&failure.stderr, config)
}

fn hoist_build_takes_a_context_for_each_platform(lab: &mut Lab) -> Result<()> {
    let bench = Bench::of(Tool::Hoist, lab, &[("Dockerfile", "FROM scratch\nCOPY --from=more file /file\n")])?;
    for (folder, text) in [("amd", "of amd64"), ("arm", "of arm64"), ("any", "of any")] {
        fs::create_dir_all(bench.home.join(folder))?;
        fs::write(bench.home.join(folder).join("file"), text)?;
    }
    let contexts = "--build-context more::linux/amd64=HOME/amd --build-context more::linux/arm64=HOME/arm --build-context more=HOME/any";
    bench.ok(&format!("build --platform linux/amd64,linux/arm64,linux/riscv64 {contexts} -o HOME/out CTX"))?;
    for (folder, text) in [("linux_amd64", "of amd64"), ("linux_arm64", "of arm64"), ("linux_riscv64", "of any")] {
        eq(folder, fs::read_to_string(bench.home.join("out").join(folder).join("file"))?.as_str(), text)?;
    }
    Ok(())
}

fn triggers_name_stages(lab: &mut Lab, tool: Tool) -> Result<()> {
    let trigger = "FROM base\nONBUILD COPY --from=tools /tool /tool\nONBUILD COPY --from=other /bin/busybox /copied\n\
        ONBUILD RUN --mount=from=tools,target=/m cat /m/tool\n";
    let bench = Bench::of(tool, lab, &[("Dockerfile", trigger)])?;
    bench.ok("build -t with-triggers CTX")?;
    lab.client.ok("tag base other")?;
    let dockerfile = "FROM base AS below\nRUN echo from below > /below\nFROM below AS tools\nRUN cat /below > /tool\n\
        FROM with-triggers\nRUN ls /copied; cat /tool\n";
    bench.write(&[("Dockerfile", dockerfile)])?;
    let output = bench.ok("build --no-cache CTX")?;
    ensure!(output.matches(" from below").count() >= 2 && said(&output, "/copied"), "{output}");
    // A stage that comes later cannot be meant.
    bench.write(&[(
        "Dockerfile",
        "FROM with-triggers AS first\nFROM base AS tools\nFROM first\nCOPY --from=tools / /x\n",
    )])?;
    let failure = bench.run("build CTX")?;
    ensure!(failure.code != 0, "{}", failure.describe());
    has(&failure.stderr, "it needs to be defined before current stage")
}

fn says_what_a_target_takes(lab: &mut Lab, tool: Tool) -> Result<()> {
    let dockerfile = "# VERSION what is built\nARG VERSION=1\nARG UNUSED=2\n# work does the work\nFROM base AS work\n\
        # MODE how it is built\nARG MODE=fast VERSION\nRUN --mount=type=secret,id=token,required --mount=type=ssh true\n\
        FROM base\nARG LAST\nCOPY --from=work /x /y\n";
    let bench = Bench::of(tool, lab, &[("Dockerfile", dockerfile)])?;
    let targets = bench.run("build --call targets CTX")?;
    eq("status", targets.code, 0)?;
    has(&targets.stdout, "TARGET    DESCRIPTION\nwork      does the work\n(default)")?;
    let outline = bench.run("build --call outline --build-arg MODE=slow CTX")?;
    eq("status", outline.code, 0)?;
    has(
        &outline.stdout,
        "BUILD ARG   VALUE   DESCRIPTION\nVERSION     1       what is built\nMODE        slow    how it is built\nLAST",
    )?;
    has(&outline.stdout, "SECRET   REQUIRED\ntoken    true\n")?;
    has(&outline.stdout, "SSH       REQUIRED\ndefault")?;
    lacks(&outline.stdout, "UNUSED")?;
    let outline = bench.run("build --call outline,format=json --target work CTX")?;
    let document: Value = serde_json::from_str(&outline.stdout)?;
    eq("name", document["name"].as_str(), Some("work"))?;
    eq("description", document["description"].as_str(), Some("does the work"))?;
    eq("secret", &document["secrets"][0]["required"], &json!(true))?;
    eq("line", &document["args"][1]["location"]["ranges"][0]["start"]["line"], &json!(7))?;
    let targets = bench.run("build --call targets,format=json CTX")?;
    let document: Value = serde_json::from_str(&targets.stdout)?;
    eq("target", document["targets"][1]["default"].as_bool(), Some(true))?;
    eq("target", document["targets"][0]["base"].as_str(), Some("base"))
}

/// The layers of the only image of an OCI layout: their types, and whether their blobs are what they are called.
fn layers(layout: &Path) -> Result<Vec<String>> {
    let read = |digest: &str| -> Result<Vec<u8>> {
        let path = layout.join("blobs").join(digest.replace(':', "/"));
        let sum = process::run(Command::new("sha256sum").arg(&path), PATIENCE)?.ok()?;
        ensure!(digest.ends_with(sum.split(' ').next().unwrap_or_default()), "{digest} is {sum}");
        Ok(fs::read(path)?)
    };
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json"))?)?;
    let manifest = read(index["manifests"][0]["digest"].as_str().context("a manifest")?)?;
    let manifest: Value = serde_json::from_slice(&manifest)?;
    let mut types = Vec::new();
    for layer in manifest["layers"].as_array().context("layers")? {
        let kind = layer["mediaType"].as_str().unwrap_or_default();
        let bytes = read(layer["digest"].as_str().unwrap_or_default())?;
        let magic = match kind.rsplit(['+', '.']).next() {
            Some("gzip") => &[0x1f, 0x8b][..],
            Some("zstd") => &[0x28, 0xb5, 0x2f, 0xfd],
            _ => b"",
        };
        ensure!(bytes.starts_with(magic), "{kind}");
        types.push(kind.trim_start_matches("application/vnd.oci.image.layer.v1.").to_owned());
    }
    Ok(types)
}

fn gives_blobs(lab: &mut Lab, tool: Tool) -> Result<()> {
    let bench = Bench::of(tool, lab, &[("Dockerfile", "FROM base\nRUN echo of the blobs > /inner\n")])?;
    for (number, (more, kind)) in [
        ("", "tar+gzip"),
        (",compression=zstd,compression-level=5,force-compression=true", "tar+zstd"),
        (",compression=uncompressed", "tar"),
    ]
    .iter()
    .enumerate()
    {
        let layout = bench.home.join(format!("blobs-{number}"));
        bench.ok(&format!(
            "build -t example.com/blobs:{number} -o type=oci,tar=false,dest={}{more} CTX",
            layout.display()
        ))?;
        ensure!(layers(&layout)?.iter().all(|found| found == kind), "{kind}: {:?}", layers(&layout)?);
        // It can be built on.
        bench.write(&[("other/Dockerfile", "FROM under\nRUN cat /inner\n")])?;
        let line =
            format!("build --no-cache --build-context under=oci-layout://{}:{number} CTX/other", layout.display());
        let output = bench.ok(&line)?;
        ensure!(said(&output, "of the blobs"), "{output}");
        // The same in an archive, which docker loads.
        for form in ["oci", "docker"] {
            bench.ok(&format!("build -t blobs:{form}{number} -o type={form},dest=HOME/{form}.tar{more} CTX"))?;
            has(&lab.client.ok(&format!("load -i {}/{form}.tar", bench.home.display()))?, "Loaded image: blobs:")?;
            eq("runs", lab.client.ok(&format!("run --rm blobs:{form}{number} cat /inner"))?.as_str(), "of the blobs")?;
        }
    }
    for (more, text) in [
        ("type=oci,dest=HOME/x,compression=estargz", "compression=estargz"),
        ("type=oci,dest=HOME/x,compression-level=9", "compression-level=9"),
    ] {
        let failure = bench.run(&format!("build -o {more} CTX"))?;
        ensure!(failure.code != 0, "{more}");
        has(&failure.stderr, text)?;
    }
    Ok(())
}

/// The names of steps have values, and none of a secret.
fn tells_no_secret(lab: &mut Lab, tool: Tool) -> Result<()> {
    let dockerfile = "FROM base\nARG ONE=first\nENV TOKEN=foo TWO='second one'\n\
        RUN --mount=type=secret,id=token,env=TOKEN test \"$TOKEN\" = hushed && echo ${ONE} \"$TWO\" $UNSET '$TWO'\n";
    let bench = Bench::of(tool, lab, &[("Dockerfile", dockerfile), ("secret", "hushed")])?;
    let output = bench.ok("build --secret id=token,src=CTX/secret CTX")?;
    has(&output, "test \"****\" = hushed && echo first \"second one\" $UNSET '$TWO'")
}

/// A pattern that matches nothing makes where it would have gone, and nothing there.
fn makes_where_nothing_matches(lab: &mut Lab, tool: Tool) -> Result<()> {
    let dockerfile = "FROM base\nCOPY none* /made/\nCOPY --parents a/b2*/c /parents/\nCOPY --parents a/b/./c2* /pivot/\n\
        RUN ls -d /made /parents /pivot && echo left $(ls /made /parents /pivot | grep -v : | tr -d '\\n')\n";
    let bench = Bench::of(tool, lab, &[("Dockerfile", dockerfile), ("a/b/c/d", "x")])?;
    let output = bench.ok("build CTX")?;
    ensure!(said(&output, "/parents") && said(&output, "left"), "{output}");
    bench.write(&[("Dockerfile", "FROM base\nCOPY --parents a/b/none /x/\n")])?;
    has(&bench.run("build CTX")?.code(1)?.stderr, "\"/a/b/none\": not found")
}

/// Archives and Dockerfiles of the web by buildx, which looks into them first.
fn buildx_takes_contexts_of_the_web(lab: &mut Lab) -> Result<()> {
    let bench = Bench::of(Tool::Buildx, lab, &[])?;
    let folder = bench.home.join("web");
    fs::create_dir_all(&folder)?;
    let archive = testkit::tar::Builder::new()
        .file("Dockerfile", 0o644, b"FROM base\nCOPY x /x\nRUN cat /x\n")
        .file("x", 0o644, b"of the archive\n")
        .finish();
    fs::write(folder.join("context.tar.gz"), testkit::tar::gzip(&archive))?;
    fs::write(folder.join("Dockerfile"), "FROM base\nRUN echo without a context\n")?;
    let address = serve(folder)?;
    let output = bench.ok(&format!("build --no-cache {address}/context.tar.gz"))?;
    ensure!(said(&output, "of the archive"), "{output}");
    let output = bench.ok(&format!("build --no-cache {address}/Dockerfile"))?;
    ensure!(said(&output, "without a context"), "{output}");
    has(&bench.run(&format!("build {address}/missing"))?.code(1)?.stderr, "404")
}

/// `docker build --cache-from IMAGE` without buildx: the steps of an image that came from elsewhere.
fn docker_build_knows_the_steps_of_images(lab: &mut Lab) -> Result<()> {
    let Some(docker) = programs::find("docker") else { return skip("docker is not installed") };
    let dockerfile = "FROM base\nRUN echo it ran > /ran; cat /ran\nCOPY a /a\nENV X=1\nRUN cat /a > /b; echo behind\n";
    let mut bench = Bench::of(Tool::Hoist, lab, &[("Dockerfile", dockerfile), ("a", "one\n")])?;
    let build = |bench: &Bench, line: &str| -> Result<String> {
        let mut command = bench.command(&docker, &format!("build {line} CTX"));
        process::run(command.env("DOCKER_BUILDKIT", "0"), PATIENCE)?.ok()
    };
    // How many steps were known, and whether the first and the last of them ran.
    let steps = |output: &str| {
        let ran = |text: &str| output.lines().any(|line| line == text);
        (output.matches("Using cache").count(), ran("it ran"), ran("behind"))
    };
    eq("steps", steps(&build(&bench, "-t origin")?), (0, true, true))?;
    let archive = bench.home.join("origin.tar");
    lab.client.ok(&format!("save -o {} base origin", archive.display()))?;
    let other = lab.another_daemon(&[])?;
    let client = other.client(lab.client.kind)?;
    client.ok(&format!("load -i {}", archive.display()))?;
    bench.host = other.host();
    eq("steps", steps(&build(&bench, "-t again --cache-from origin")?), (4, false, false))?;
    eq(
        "layers",
        client.field("again", "{{json .RootFS.Layers}}")?,
        client.field("origin", "{{json .RootFS.Layers}}")?,
    )?;
    eq("runs", client.ok("run --rm again cat /b")?.as_str(), "one")?;
    // What has changed is done anew, and what is behind it.
    bench.write(&[("a", "two\n")])?;
    client.ok("builder prune -af")?;
    eq("steps", steps(&build(&bench, "-t changed --cache-from origin")?), (1, false, true))?;
    eq("runs", client.ok("run --rm changed cat /b")?.as_str(), "two")?;
    // Not without being asked.
    client.ok("rmi again changed")?;
    client.ok("builder prune -af")?;
    eq("steps", steps(&build(&bench, "--cache-from nothing-of-this-name")?), (0, true, true))
}
