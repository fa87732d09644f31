//! BuildKit's API, used by its own clients: `docker buildx`, `docker build` with the plugin, `docker compose build`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;
use testkit::harness::{Lab, Test, skip};
use testkit::images::busybox_tar;
use testkit::{process, programs, tests, wait, words};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![hoist only:
    buildx_builds_and_knows,
    hoist_build_builds_and_knows,
    buildx_sends_what_has_changed,
    hoist_build_sends_what_has_changed,
    buildx_fails_with_the_line,
    hoist_build_fails_with_the_line,
    buildx_gives_files,
    hoist_build_gives_files,
    buildx_fetches,
    hoist_build_fetches,
    hoist_build_flags,
    hoist_build_takes_contexts_of_the_web,
    hoist_build_takes_repositories,
    buildx_makes_the_same_image_elsewhere,
    hoist_build_makes_the_same_image_elsewhere,
    buildx_reads_standard_input,
    hoist_build_reads_standard_input,
    buildx_links_targets_of_bake,
    buildx_keeps_secrets,
    hoist_build_keeps_secrets,
    buildx_cancelled_leaves_nothing,
    hoist_build_cancelled_leaves_nothing,
    buildx_refuses_by_name,
    hoist_build_refuses_by_name,
    docker_build_takes_the_plugin,
    compose_builds,
];

const PATIENCE: Duration = Duration::from_secs(120);

/// Who builds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    Buildx,
    /// `hoist build`, over a session of its own.
    Hoist,
}

impl Tool {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Tool::Buildx => "buildx",
            Tool::Hoist => "hoist",
        }
    }
}

by_both! {
    builds_and_knows: buildx_builds_and_knows hoist_build_builds_and_knows,
    sends_what_has_changed: buildx_sends_what_has_changed hoist_build_sends_what_has_changed,
    fails_with_the_line: buildx_fails_with_the_line hoist_build_fails_with_the_line,
    gives_files: buildx_gives_files hoist_build_gives_files,
    fetches: buildx_fetches hoist_build_fetches,
    makes_the_same_image_elsewhere: buildx_makes_the_same_image_elsewhere hoist_build_makes_the_same_image_elsewhere,
    reads_standard_input: buildx_reads_standard_input hoist_build_reads_standard_input,
    keeps_secrets: buildx_keeps_secrets hoist_build_keeps_secrets,
    cancelled_leaves_nothing: buildx_cancelled_leaves_nothing hoist_build_cancelled_leaves_nothing,
    refuses_by_name: buildx_refuses_by_name hoist_build_refuses_by_name,
}

/// buildx, a context directory and a base image called `base`.
pub(crate) struct Bench {
    buildx: PathBuf,
    pub(crate) host: String,
    pub(crate) home: PathBuf,
}

impl Bench {
    fn new(lab: &Lab, files: &[(&str, &str)]) -> Result<Bench> {
        Bench::of(Tool::Buildx, lab, files)
    }

    pub(crate) fn of(tool: Tool, lab: &Lab, files: &[(&str, &str)]) -> Result<Bench> {
        let buildx = match tool {
            Tool::Hoist => PathBuf::from(lab.client.command("").get_program()),
            Tool::Buildx => match programs::find("docker-buildx") {
                Some(buildx) => buildx,
                None => return skip("docker-buildx is not there; cargo xtask test builds it"),
            },
        };
        if lab.client.ok("images -q base")?.is_empty() {
            lab.client.ok_with("import - base", &busybox_tar()?)?;
        }
        let bench = Bench { buildx, host: lab.daemon.host(), home: lab.daemon.tmp() };
        let plugins = bench.home.join("docker/cli-plugins");
        fs::create_dir_all(&plugins)?;
        if tool == Tool::Buildx {
            let _ = std::os::unix::fs::symlink(&bench.buildx, plugins.join("docker-buildx"));
        }
        bench.write(files)?;
        Ok(bench)
    }

    fn context(&self) -> PathBuf {
        self.home.join("context")
    }

    pub(crate) fn write(&self, files: &[(&str, &str)]) -> Result<()> {
        for (path, content) in files {
            let path = self.context().join(path);
            fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
            fs::write(path, content)?;
        }
        Ok(())
    }

    pub(crate) fn command(&self, program: &Path, line: &str) -> Command {
        let line = line.replace("CTX", &self.context().display().to_string());
        let line = line.replace("HOME", &self.home.display().to_string());
        let mut command = Command::new(program);
        command
            .args(words::split(&line))
            .current_dir(&self.home)
            .env("DOCKER_HOST", &self.host)
            .env("DOCKER_CONFIG", self.home.join("docker"))
            .env("BUILDX_CONFIG", self.home.join("buildx"))
            .env("BUILDKIT_PROGRESS", "plain")
            .env("HOME", &self.home);
        command
    }

    pub(crate) fn run(&self, line: &str) -> Result<process::Output> {
        process::run(&mut self.command(&self.buildx, line), PATIENCE)
    }

    fn run_with(&self, line: &str, input: &[u8]) -> Result<process::Output> {
        process::spawn(&mut self.command(&self.buildx, line), Some(input))?.finish(PATIENCE)
    }

    /// What it prints on both streams.
    pub(crate) fn ok(&self, line: &str) -> Result<String> {
        self.within(line, PATIENCE)
    }

    /// [`Bench::ok`] for what takes its time.
    pub(crate) fn within(&self, line: &str, limit: Duration) -> Result<String> {
        let output = process::run(&mut self.command(&self.buildx, line), limit)?;
        let said = format!("{}{}", output.stdout, output.stderr);
        let last: Vec<&str> = said.lines().rev().take(60).collect();
        ensure!(
            output.code == 0,
            "{line}: status {}, and at last\n{}",
            output.code,
            last.into_iter().rev().collect::<Vec<_>>().join("\n")
        );
        Ok(said)
    }
}

const SITE: &str = "FROM base\nARG greeting=hello\nRUN mkdir /made && echo $greeting > /made/it\nCOPY . /src\nCMD [\"cat\", \"/made/it\", \"/src/a\"]\n";

fn builds_and_knows(lab: &mut Lab, tool: Tool) -> Result<()> {
    let bench = Bench::of(tool, lab, &[("Dockerfile", SITE), ("a", "first")])?;
    let first = bench.ok("build -t site:1 --label of=test --iidfile HOME/iid --metadata-file HOME/md CTX")?;
    has(&first, "[2/3] RUN mkdir /made")?;
    has(&first, "naming to docker.io/library/site:1 done")?;
    eq("runs", lab.client.ok("run --rm site:1")?.as_str(), "hello\nfirst")?;
    let id = lab.client.field("site:1", "{{.Id}}")?;
    eq("iidfile", fs::read_to_string(bench.home.join("iid"))?.trim(), &id)?;
    has(&fs::read_to_string(bench.home.join("md"))?, "docker.io/library/site:1")?;
    eq("label", lab.client.field("site:1", "{{.Config.Labels.of}}")?.as_str(), "test")?;
    let second = bench.ok("build -t site:2 --label of=test CTX")?;
    eq("known steps", second.matches("CACHED").count(), 3)?;
    eq("the same image", lab.client.field("site:2", "{{.Id}}")?, id)?;
    bench.ok("build -t site:3 --build-arg greeting=bye CTX")?;
    eq("argument", lab.client.ok("run --rm site:3")?.as_str(), "bye\nfirst")?;
    let anew = bench.ok("build --no-cache CTX")?;
    eq("known steps", anew.matches("CACHED").count(), 1)?;
    // The cache and the kept context outlive the daemon.
    lab.daemon.restart()?;
    eq("known steps", bench.ok("build CTX")?.matches("CACHED").count(), 3)?;
    match tool {
        Tool::Buildx => {
            has(&bench.ok("du")?, "Reclaimable")?;
            has(&bench.ok("inspect")?, "linux/")?;
            has(&bench.ok("prune -af")?, "Total")?;
        }
        Tool::Hoist => has(&bench.ok("builder prune -af")?, "Total reclaimed space")?,
    }
    eq("nothing is left", bench.ok("build CTX")?.matches("CACHED").count(), 1)
}

fn sends_what_has_changed(lab: &mut Lab, tool: Tool) -> Result<()> {
    let large = "x".repeat(3_000_000);
    let dockerfile = "FROM base\nCOPY . /src\nRUN cat /src/small /src/deep/er/one /src/link; ls /src\n";
    let bench = Bench::of(
        tool,
        lab,
        &[
            ("Dockerfile", dockerfile),
            ("large", &large),
            ("small", "1"),
            ("deep/er/one", "2"),
            ("gone", "3"),
            ("hidden", "4"),
        ],
    )?;
    bench.write(&[(".dockerignore", "hidden\n")])?;
    std::os::unix::fs::symlink("small", bench.context().join("link"))?;
    let moved = |output: &str| -> Option<String> {
        let line = output.lines().find(|line| line.contains("transferring context:") && line.contains("MB"))?;
        Some(line.to_owned())
    };
    let first = bench.ok("build CTX")?;
    ensure!(moved(&first).is_some(), "the large file was sent:\n{first}");
    has(&first, "121")?;
    lacks(&first, "hidden")?;
    fs::remove_file(bench.context().join("gone"))?;
    fs::remove_dir_all(bench.context().join("deep"))?;
    bench.write(&[
        ("small", "changed"),
        ("deep/er/one/now-a-directory", "x"),
        ("Dockerfile", "FROM base\nCOPY . /src\nRUN cat /src/small /src/link; find /src | sort\n"),
    ])?;
    let second = bench.ok("build CTX")?;
    eq("sent again", moved(&second), None)?;
    has(&second, "changedchanged")?;
    has(&second, "/src/deep/er/one/now-a-directory")?;
    lacks(&second, "/src/gone")
}

fn fails_with_the_line(lab: &mut Lab, tool: Tool) -> Result<()> {
    let bench = Bench::of(tool, lab, &[("a", "a")])?;
    for (dockerfile, texts) in [
        (
            "FROM base\nRUN echo before; exit 3\n",
            &[
                "before",
                "Dockerfile:2",
                ">>> RUN echo before",
                "ERROR: failed to build: failed to solve: process \"/bin/sh -c echo before; exit 3\" did not complete successfully: exit code: 3",
            ][..],
        ),
        (
            "FROM base\nRUNN true\n",
            &[
                "Dockerfile:2",
                "failed to solve: dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)",
            ],
        ),
        (
            "FROM base\nCOPY missing /\n",
            &[
                "failed to solve: failed to compute cache key: failed to calculate checksum of ref",
                "\"/missing\": not found",
            ],
        ),
        (
            "FROM base AS a\nCOPY --from=b / /\nFROM base AS b\nCOPY --from=a / /\n",
            &["circular dependency detected on stage"],
        ),
        ("FROM base\nRUN --security=insecure true\n", &["security.insecure is not allowed"]),
        ("FROM base\nRUN --mount=type=secret,id=none,required true\n", &["secret none: not found"]),
    ] {
        bench.write(&[("Dockerfile", dockerfile)])?;
        let failure = bench.run("build CTX")?.code(1)?;
        for text in texts {
            has(&failure.stderr, text)?;
        }
    }
    bench.write(&[("Dockerfile", "from base AS Upper\nRUN true\n")])?;
    let checked = bench.run("build --check CTX")?.code(1)?;
    has(&checked.stdout, "WARNING: StageNameCasing - https://docs.docker.com/go/dockerfile/rule/stage-name-casing/")?;
    bench.write(&[("Dockerfile", "FROM base\nRUN true\n")])?;
    has(&bench.ok("build --check CTX")?, "no warnings found")
}

fn gives_files(lab: &mut Lab, tool: Tool) -> Result<()> {
    let dockerfile = "FROM base AS work\nRUN mkdir -p /out/d && echo one > /out/a && ln -s a /out/l && ln /out/a /out/d/h && chmod 750 /out/d\n\
        FROM scratch\nCOPY --from=work /out /\n";
    let bench = Bench::of(tool, lab, &[("Dockerfile", dockerfile)])?;
    bench.ok("build -o HOME/out CTX")?;
    let out = bench.home.join("out");
    eq("file", fs::read_to_string(out.join("d/h"))?.as_str(), "one\n")?;
    eq("link", fs::read_link(out.join("l"))?, PathBuf::from("a"))?;
    bench.ok("build -o type=tar,dest=HOME/out.tar CTX")?;
    let listed = process::run(Command::new("tar").arg("tvf").arg(bench.home.join("out.tar")), PATIENCE)?.ok()?;
    has(&listed, "drwxr-x--- 0/0")?;
    has(&listed, "l -> a")?;
    // Archives that others load, and that are the image.
    bench.ok("build -t given:1 -o type=docker,dest=HOME/docker.tar CTX")?;
    bench.ok("build -t given:2 -o type=oci,dest=HOME/oci.tar CTX")?;
    for name in ["docker", "oci"] {
        let loaded = lab.client.ok(&format!("load -i {}/{name}.tar", bench.home.display()))?;
        has(&loaded, "Loaded image: given:")?;
    }
    eq("the same image", lab.client.field("given:1", "{{.Id}}")?, lab.client.field("given:2", "{{.Id}}")?)?;
    // Straight to a registry.
    let name = format!("{}/built/here:1", lab.registry()?.host());
    bench.ok(&format!("build -t {name} --push CTX"))?;
    lab.client.ok(&format!("rmi {name}"))?;
    lab.client.ok(&format!("pull -q {name}"))?;
    eq("the same image", lab.client.field(&name, "{{.Id}}")?, lab.client.field("given:1", "{{.Id}}")?)
}

/// Serves one answer to every request, on a thread that ends with the test.
fn web(body: Vec<u8>) -> Result<String> {
    use std::io::{BufRead, BufReader, Write};
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = format!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let mut lines = BufReader::new(&client).lines();
            while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            // A client that has gone has nothing to hear.
            let _ = (&client).write_all(head.as_bytes()).and_then(|()| (&client).write_all(&body));
        }
    });
    Ok(address)
}

fn fetches(lab: &mut Lab, tool: Tool) -> Result<()> {
    let address = web(b"from the web".to_vec())?;
    // sha256 of that text.
    let sum =
        process::run(Command::new("sh").args(["-c", "printf %s 'from the web' | sha256sum | cut -c1-64"]), PATIENCE)?;
    let sum = sum.ok()?;
    let bench = Bench::of(tool, lab, &[])?;
    let add = |flag: &str| {
        format!("FROM base\nADD {flag} {address}/some/file?x=1 /there/\nRUN cat /there/file; stat -c %a /there/file\n")
    };
    for flag in [String::new(), format!("--checksum=sha256:{}", sum.trim())] {
        bench.write(&[("Dockerfile", &add(&flag))])?;
        let output = bench.ok("build --no-cache CTX")?;
        has(&output, "from the web")?;
        has(&output, "600")?;
    }
    bench.write(&[("Dockerfile", &add(&format!("--checksum=sha256:{}", "0".repeat(64))))])?;
    let failure = bench.run("build CTX")?.code(1)?;
    has(&failure.stderr, "digest mismatch sha256:")?;
    has(&failure.stderr, "Dockerfile:2")?;
    Ok(())
}

/// Contexts that are elsewhere: archives and Dockerfiles of the web.
fn hoist_build_takes_contexts_of_the_web(lab: &mut Lab) -> Result<()> {
    let bench = Bench::of(Tool::Hoist, lab, &[("Dockerfile", "FROM base\nCOPY --from=more x /x\nRUN cat /x\n")])?;
    let archive = testkit::tar::Builder::new()
        .file("Dockerfile", 0o644, b"FROM base\nCOPY x /x\nRUN cat /x\n")
        .file("x", 0o644, b"of the archive")
        .finish();
    for bytes in [archive.clone(), testkit::tar::gzip(&archive)] {
        let address = web(bytes)?;
        has(&bench.ok(&format!("build --no-cache {address}/context.tar.gz"))?, "of the archive")?;
        has(&bench.ok(&format!("build --no-cache --build-context more={address}/c.tar CTX"))?, "of the archive")?;
    }
    let alone = web(b"FROM base\nRUN echo without a context\n".to_vec())?;
    has(&bench.ok(&format!("build {alone}/Dockerfile"))?, "without a context")?;
    let broken = web(vec![0xff; 1000])?;
    has(&bench.run(&format!("build {broken}/x"))?.code(1)?.stderr, "is neither an archive nor a Dockerfile")
}

/// A repository with a branch, a submodule and a link that leads out, served on loopback.
fn repository(lab: &Lab) -> Result<(String, testkit::process::Running)> {
    let root = lab.daemon.tmp().join("git");
    let script = "set -e; export GIT_CONFIG_NOSYSTEM=1 HOME=$PWD GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
        git init -q -b main sub; cd sub; echo of the submodule > inner; git add .; git commit -qm sub; cd ..
        git init -q -b main app; cd app; mkdir -p deep/er; echo first > file
        printf 'FROM base\\nCOPY . /src\\nRUN cat /src/file /src/sub/inner; ls -a /src\\n' > Dockerfile
        printf 'FROM base\\nCOPY only /only\\nRUN cat /only\\n' > deep/er/Dockerfile; echo deep inside > deep/er/only
        ln -s /etc out
        git -c protocol.file.allow=always submodule -q add ../sub sub
        git add .; git commit -qm one; git tag v1; echo second > file; git commit -qam two; git rev-parse HEAD~1 > ../commit
        git config uploadpack.allowAnySHA1InWant true";
    fs::create_dir_all(&root)?;
    process::run(Command::new("sh").args(["-c", script]).current_dir(&root), PATIENCE)?.ok()?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    // The program itself: what stands before it would leave it behind.
    let folder = process::run(Command::new("git").arg("--exec-path"), PATIENCE)?.ok()?;
    let mut command = Command::new(format!("{folder}/git-daemon"));
    command.args(["--export-all", "--reuseaddr", "--listen=127.0.0.1"]);
    command.arg(format!("--port={port}")).arg(format!("--base-path={}", root.display())).arg(&root);
    let running = process::spawn(&mut command, None)?;
    wait::until("git daemon to listen", PATIENCE, || {
        Ok(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(()))
    })?;
    Ok((format!("git://127.0.0.1:{port}"), running))
}

fn hoist_build_takes_repositories(lab: &mut Lab) -> Result<()> {
    if programs::find("git").is_none() {
        return skip("git is not installed");
    }
    let bench = Bench::of(Tool::Hoist, lab, &[])?;
    let (address, daemon) = repository(lab)?;
    let commit = fs::read_to_string(lab.daemon.tmp().join("git/commit"))?;
    let app = format!("{address}/app/.git");
    let output = bench.ok(&format!("build --no-cache {app}"))?;
    has(&output, "second")?;
    has(&output, "of the submodule")?;
    for reference in ["v1", commit.trim()] {
        has(&bench.ok(&format!("build --no-cache '{app}#{reference}'"))?, "first")?;
    }
    has(&bench.ok(&format!("build '{app}#main:deep/er'"))?, "deep inside")?;
    for (fragment, text) in [
        ("nothere", "couldn't find remote ref"),
        ("main:out", "fetch git://"),
        ("main:nowhere", "not found in the repository"),
    ] {
        let failure = bench.run(&format!("build '{app}#{fragment}'"))?;
        eq(fragment, failure.code == 0, false)?;
        has(&failure.stderr, text)?;
    }
    // As a source of ADD, and nothing of it stays.
    bench.write(&[("Dockerfile", &format!("FROM base\nADD {app}#v1 /there/\nRUN cat /there/file\n"))])?;
    has(&bench.ok("build --no-cache CTX")?, "first")?;
    let left = fs::read_dir(std::env::temp_dir())?.flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("hoist-git-")).count();
    eq("left", left, 0)?;
    drop(daemon);
    Ok(())
}

/// Flags that only a session can keep.
fn hoist_build_flags(lab: &mut Lab) -> Result<()> {
    let dockerfile = "FROM base AS one\nRUN echo made one\nFROM base AS two\nRUN echo made two\nFROM one\nCOPY --from=two /bin/sh /x\nCOPY --from=more /file /file\n\
        RUN --mount=type=secret,id=token,env=TOKEN test \"$TOKEN\" = of-the-environment\n";
    let bench = Bench::of(Tool::Hoist, lab, &[("Dockerfile", dockerfile), ("more/file", "named")])?;
    let line = "build -t flags --secret id=token,env=HOIST_TEST_TOKEN --build-context more=CTX/more";
    let run = |more: &str| {
        let mut command = bench.command(&bench.buildx, &format!("{line} {more} CTX"));
        process::run(command.env("HOIST_TEST_TOKEN", "of-the-environment"), PATIENCE)
    };
    run("")?.ok_text()?;
    eq("context", lab.client.ok("run --rm flags cat /file")?.as_str(), "named")?;
    let again = run("--no-cache-filter two")?.ok_text()?;
    let said = |text: &str| again.lines().any(|line| line.ends_with(text) && !line.contains("RUN"));
    eq("steps that ran", (said(" made one"), said(" made two")), (false, true))?;
    // Ways to show it.
    let json = run("--progress rawjson")?;
    for line in json.stderr.lines() {
        let told: serde_json::Value = serde_json::from_str(line)?;
        ensure!(told.is_object(), "{line}");
    }
    has(&json.stderr, "\"vertexes\":[{")?;
    let screen = run("--progress tty")?.ok_text()?;
    has(&screen, "[+] Building ")?;
    has(&screen, " => CACHED [one 2/2] RUN echo made one")?;
    let quiet = run("-q")?;
    eq("quiet", quiet.stdout.trim().to_owned(), lab.client.field("flags", "{{.Id}}")?)?;
    eq("quiet", quiet.stderr.as_str(), "")?;
    // An archive on standard output, and what to try after a failure.
    let tar = run("-o -")?;
    eq("archive", tar.code, 0)?;
    has(&tar.stdout, "ustar")?;
    bench.write(&[("Dockerfile", "FROM base\nRUN nothing-of-this-name\n")])?;
    let failure = run("")?.code(1)?;
    for text in [
        " > [2/2] RUN nothing-of-this-name:",
        "not found",
        "Dockerfile:2",
        ">>> RUN nothing",
        "exit code: 127",
        "What to try: ",
    ] {
        has(&failure.stderr, text)?;
    }
    for (more, text) in [
        ("--ssh default=/nowhere", "stat /nowhere: no such file or directory"),
        ("-o type=other", "unknown output type \"other\""),
        ("-o type=oci", "dest is required for oci exporter"),
        ("--progress loud", "invalid progress mode loud"),
        ("--secret id=a,src=/nowhere", "failed to stat /nowhere"),
    ] {
        has(&run(more)?.code(1)?.stderr, text)?;
    }
    Ok(())
}

fn makes_the_same_image_elsewhere(lab: &mut Lab, tool: Tool) -> Result<()> {
    let dockerfile = "FROM base\nARG SOURCE_DATE_EPOCH\nCOPY . /src\nRUN mkdir /made && echo x > /made/x && date > /dev/null\nWORKDIR /new\n";
    let mut bench = Bench::of(tool, lab, &[("Dockerfile", dockerfile), ("a", "a"), ("d/b", "b")])?;
    let line = "build --no-cache -t same --build-arg SOURCE_DATE_EPOCH=1700000000 CTX";
    bench.ok(line)?;
    let first = lab.client.field("same", "{{.Id}}")?;
    eq("its time", lab.client.field("same", "{{.Created}}")?.as_str(), "2023-11-14T22:13:20Z")?;
    let base = bench.home.join("base.tar");
    lab.client.ok(&format!("save -o {} base", base.display()))?;
    let other = lab.another_daemon(&[])?;
    let client = other.client(lab.client.kind)?;
    client.ok(&format!("load -i {}", base.display()))?;
    bench.host = other.host();
    bench.ok(line)?;
    eq("the same image", client.field("same", "{{.Id}}")?, first)
}

fn reads_standard_input(lab: &mut Lab, tool: Tool) -> Result<()> {
    let bench = Bench::of(tool, lab, &[("a", "of the context")])?;
    let output = bench.run_with("build -f - CTX", b"FROM base\nCOPY a /a\nRUN cat /a\n")?;
    has(&output.ok_text()?, "of the context")?;
    let output = bench.run_with("build -", b"FROM base\nRUN echo without context\n")?;
    has(&output.ok_text()?, "without context")?;
    let tar = testkit::tar::Builder::new()
        .file("Dockerfile", 0o644, b"FROM base\nCOPY x /x\nRUN cat /x\n")
        .file("x", 0o644, b"of the archive")
        .finish();
    has(&bench.run_with("build -", &tar)?.ok_text()?, "of the archive")
}

/// Both streams of a command that went well.
trait Text {
    fn ok_text(self) -> Result<String>;
}

impl Text for process::Output {
    fn ok_text(self) -> Result<String> {
        ensure!(self.code == 0, "{}", self.describe());
        Ok(format!("{}{}", self.stdout, self.stderr))
    }
}

fn buildx_links_targets_of_bake(lab: &mut Lab) -> Result<()> {
    let bench = Bench::new(lab, &[("Dockerfile", "FROM base\nRUN echo below > /below\n"), ("more/file", "named")])?;
    let bake = "group \"default\" {\n  targets = [\"top\", \"below\"]\n}\n\
        target \"below\" {\n  context = \"context\"\n  tags = [\"below:1\"]\n}\n\
        target \"top\" {\n  context = \"context\"\n  dockerfile-inline = \"FROM under\\nCOPY --from=named file /file\\n\"\n  \
        contexts = {\n    under = \"target:below\"\n    named = \"context/more\"\n  }\n  tags = [\"top:1\", \"top:2\"]\n}\n";
    fs::write(bench.home.join("docker-bake.hcl"), bake)?;
    bench.ok("bake")?;
    eq("linked", lab.client.ok("run --rm top:2 cat /below /file")?.as_str(), "below\nnamed")?;
    eq("both", lab.client.ok("run --rm below:1 cat /below")?.as_str(), "below")
}

fn keeps_secrets(lab: &mut Lab, tool: Tool) -> Result<()> {
    const CANARY: &str = "canary-6b1f0c9d7e";
    let dockerfile = "FROM base\nRUN --mount=type=secret,id=token wc -c < /run/secrets/token > /length\n\
        RUN --mount=type=secret,id=token,env=TOKEN test -n \"$TOKEN\"\n";
    let bench = Bench::of(tool, lab, &[("Dockerfile", dockerfile)])?;
    fs::write(bench.home.join("secret"), CANARY)?;
    let output = bench.ok("build -t kept --secret id=token,src=HOME/secret CTX")?;
    eq("it was there", lab.client.ok("run --rm kept cat /length")?.as_str(), "17")?;
    lacks(&output, CANARY)?;
    lacks(&lab.client.ok("history --no-trunc kept")?, CANARY)?;
    if tool == Tool::Buildx {
        lacks(&bench.ok("history ls")?, CANARY)?;
    }
    // Neither in layers, cache and database, nor in the daemon's log.
    for place in [lab.daemon.data_root(), lab.daemon.exec_root(), lab.daemon.log_path()] {
        let found = process::run(Command::new("grep").args(["-rlaF", CANARY]).arg(&place), PATIENCE)?;
        eq(&format!("{}", place.display()), found.stdout.as_str(), "")?;
    }
    Ok(())
}

fn cancelled_leaves_nothing(lab: &mut Lab, tool: Tool) -> Result<()> {
    let bench = Bench::of(tool, lab, &[("Dockerfile", "FROM base\nRUN echo it runs; sleep 98127\n")])?;
    let images = lab.client.ok("images -aq")?;
    for signal in [Signal::INT, Signal::KILL] {
        // Its progress is on standard error.
        let mut command = bench.command(Path::new("/bin/sh"), "-c 'exec \"$0\" build CTX 2>&1'");
        let running = process::spawn(command.arg(&bench.buildx), None)?;
        running.expect("it runs", PATIENCE)?;
        running.signal(signal)?;
        let ended = running.finish(PATIENCE)?;
        eq("it failed", ended.code == 0, false)?;
        let steps = lab.daemon.exec_root().join("build");
        wait::until("the step to be gone", PATIENCE, || {
            let left = fs::read_dir(&steps).map_or(0, Iterator::count);
            let sleeping = process::all().into_iter().any(|pid| process::command_line(pid).contains("sleep 98127"));
            Ok((left == 0 && !sleeping).then_some(()))
        })?;
    }
    eq("images", lab.client.ok("images -aq")?, images)?;
    eq("containers", lab.client.ok("ps -aq")?.as_str(), "")
}

fn refuses_by_name(lab: &mut Lab, tool: Tool) -> Result<()> {
    let bench = Bench::of(tool, lab, &[("Dockerfile", "FROM base\n")])?;
    let attestations = match tool {
        Tool::Buildx => ("Attestations are not supported", "Attestations are not supported"),
        Tool::Hoist => ("attest:provenance", "attest:sbom"),
    };
    for (line, text) in [
        ("build --build-context x=ftp://example.com/x CTX", "ftp:"),
        ("build --call nonsense CTX", "frontend.nonsense"),
        ("build --provenance mode=max CTX", attestations.0),
        ("build --sbom true CTX", attestations.1),
        (
            "build --cache-to type=azblob,name=x,account_url=http://127.0.0.1:1 CTX",
            "the cache export type=azblob is not supported",
        ),
        ("build --build-arg BUILDKIT_SYNTAX=example.com/other CTX", "the frontend image"),
    ] {
        let failure = bench.run(line)?;
        eq(line, failure.code == 0, false)?;
        has(&failure.stderr, text)?;
    }
    Ok(())
}

fn docker_build_takes_the_plugin(lab: &mut Lab) -> Result<()> {
    let bench = Bench::new(lab, &[("Dockerfile", SITE), ("a", "by docker")])?;
    let Some(docker) = programs::find("docker") else { return skip("docker is not installed") };
    let output = process::run(&mut bench.command(&docker, "build -t plugged CTX"), PATIENCE)?.ok_text()?;
    has(&output, "naming to docker.io/library/plugged:latest")?;
    eq("runs", lab.client.ok("run --rm plugged")?.as_str(), "hello\nby docker")
}

fn compose_builds(lab: &mut Lab) -> Result<()> {
    let bench = Bench::new(lab, &[("Dockerfile", SITE), ("a", "composed")])?;
    let Some(compose) = programs::find("docker-compose") else {
        return skip("docker-compose is not there; cargo xtask test builds it");
    };
    let file = "services:\n  one:\n    build:\n      context: context\n      args: {greeting: hi}\n    image: composed:1\n  two:\n    build: context\n";
    fs::write(bench.home.join("compose.yml"), file)?;
    let output = process::run(&mut bench.command(&compose, "-p e2e -f HOME/compose.yml build"), PATIENCE)?;
    ensure!(output.code == 0, "{}", output.describe());
    eq("runs", lab.client.ok("run --rm composed:1")?.as_str(), "hi\ncomposed")?;
    eq("the other", lab.client.ok("run --rm e2e-two")?.as_str(), "hello\ncomposed")
}
