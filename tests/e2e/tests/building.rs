//! Images from Dockerfiles: `build`, the classic door.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use testkit::harness::{Lab, Test};
use testkit::http::{Target, request};
use testkit::images::busybox_tar;
use testkit::{tar, tests};

use crate::check::{eq, has};

pub const TESTS: &[Test] = tests![
    w39_build_and_change,
    build_copies_what_is_meant,
    build_stages_and_mounts,
    build_secrets_of_the_file_system,
    build_contexts,
    build_fails_with_the_line,
    build_ignores,
    build_is_reproducible,
    build_adds_archives,
    build_follows_no_link_out,
    build_in_a_network,
];

/// A context directory with these files, and a base image called `base`.
fn context(lab: &mut Lab, files: &[(&str, &str)]) -> Result<PathBuf> {
    if lab.client.ok("images -q base")?.is_empty() {
        lab.client.ok_with("import - base", &busybox_tar()?)?;
    }
    let folder = lab.daemon.tmp().join("context");
    fs::create_dir_all(&folder)?;
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(path, content)?;
    }
    Ok(folder)
}

fn w39_build_and_change(lab: &mut Lab) -> Result<()> {
    let dockerfile = "FROM base\nMAINTAINER someone\nLABEL purpose=test\nRUN mkdir -p /www\nRUN [\"/bin/touch\", \"/www/exec\"]\nADD index.html /www/\n\
                      WORKDIR /www\nEXPOSE 80\nCMD [\"cat\", \"index.html\"]\n";
    let folder = context(lab, &[("Dockerfile", dockerfile), ("index.html", "first")])?;
    let folder = folder.display();
    let first = lab.client.ok(&format!("build -t site:1 {folder}"))?;
    has(&first, "Successfully tagged site:1")?;
    eq("runs", lab.client.ok("run --rm site:1")?.as_str(), "first")?;
    eq("exec form", lab.client.ok("run --rm site:1 ls /www")?.as_str(), "exec\nindex.html")?;
    let image = lab.client.inspect("site:1")?;
    eq("author", image["Author"].as_str(), Some("someone"))?;
    eq("label", image["Config"]["Labels"]["purpose"].as_str(), Some("test"))?;
    eq("port", image["Config"]["ExposedPorts"]["80/tcp"].is_object(), true)?;
    eq("directory", image["Config"]["WorkingDir"].as_str(), Some("/www"))?;
    // Nothing has changed: every step is known, and the image is the same.
    let second = lab.client.ok(&format!("build -t site:2 {folder}"))?;
    eq("known steps", second.matches("Using cache").count(), 8)?;
    eq("same image", lab.client.inspect("site:2")?["Id"].as_str(), image["Id"].as_str())?;
    // A change: from there on.
    fs::write(lab.daemon.tmp().join("context/index.html"), "second")?;
    let third = lab.client.ok(&format!("build -t site:3 {folder}"))?;
    eq("known steps", third.matches("Using cache").count(), 4)?;
    eq("runs", lab.client.ok("run --rm site:3")?.as_str(), "second")?;
    // And all anew.
    let fourth = lab.client.ok(&format!("build --no-cache -t site:4 {folder}"))?;
    eq("known steps", fourth.matches("Using cache").count(), 0)?;
    // The cache is there after a restart of the daemon.
    lab.daemon.restart()?;
    let fifth = lab.client.ok(&format!("build {folder}"))?;
    eq("known steps", fifth.matches("Using cache").count(), 8)
}

/// Steps find the containers of a network that a user made. What a failed one says is told in Docker's form.
fn build_in_a_network(lab: &mut Lab) -> Result<()> {
    let folder = context(lab, &[("Dockerfile", "FROM base\nRUN ping -c1 target\nRUN echo odd >&2\n")])?;
    lab.client.ok("network create near")?;
    lab.client.ok("run -d --name target --network near base sleep 1000")?;
    let output = lab.client.ok(&format!("build --network near -t reached {}", folder.display()))?;
    has(&output, "1 packets received")?;
    has(&output, "\x1b[91modd\n\x1b[0m")?;
    lab.client.fails(1, &format!("build --network no-such-network {}", folder.display()))?.stderr_has("not found")?;
    // Nobody is there without the network, whose name is part of what a step depends on.
    let archive = tar::Builder::new().file("Dockerfile", 0o644, b"FROM base\nRUN ping -c1 target\n").finish();
    let socket = Target::Unix(lab.daemon.socket());
    let answer = request(&socket, "POST", "/build?networkmode=none", Some(&archive))?.success()?.text();
    let told = "\"errorDetail\":{\"code\":1,\"message\":\"The command '/bin/sh -c ping -c1 target' returned a non-zero code: 1";
    has(&answer, told)?;
    lab.client.ok("rm -f target")?;
    lab.client.ok("rmi reached")?;
    lab.client.ok("network rm near").map(drop)
}

fn build_copies_what_is_meant(lab: &mut Lab) -> Result<()> {
    let dockerfile = "FROM base\nRUN mkdir -p /there/real && ln -s /there/real /there/link && chmod 1777 /there\nWORKDIR /w\n\
        COPY a.txt b.txt many/\nCOPY dir /copied\nCOPY dir/*.md .\nCOPY --chown=7:8 --chmod=640 a.txt /owned\nCOPY a.txt /there/link/\nCOPY a.txt name\n\
        COPY <<one <<-two /heredocs/\nfirst\none\n\ttabbed\n\ttwo\nCOPY --parents dir/deep/x /parents/\n\
        RUN stat -c '%a %u:%g' /owned /there && find /w /copied /heredocs /parents /there -type f | sort && cat /heredocs/two\n";
    let files = [
        ("Dockerfile", dockerfile),
        ("a.txt", "a"),
        ("b.txt", "b"),
        ("dir/readme.md", "r"),
        ("dir/other", "o"),
        ("dir/deep/x", "x"),
    ];
    let folder = context(lab, &files)?;
    let output = lab.client.ok(&format!("build {}", folder.display()))?;
    has(&output, "640 7:8\n1777 0:0")?;
    has(
        &output,
        "/copied/deep/x\n/copied/other\n/copied/readme.md\n/heredocs/one\n/heredocs/two\n/parents/dir/deep/x\n/there/real/a.txt\n/w/many/a.txt\n/w/many/b.txt\n/w/name\n/w/readme.md",
    )?;
    has(&output, "tabbed")
}

fn build_stages_and_mounts(lab: &mut Lab) -> Result<()> {
    let dockerfile = "ARG BASE=nothing\nFROM ${BASE} AS one\nARG WORD=default\nRUN echo \"one $WORD\" > /result\nFROM base AS unused\nRUN exit 9\n\
        FROM base AS two\nRUN --mount=type=cache,target=/cache echo x >> /cache/lines && wc -l < /cache/lines > /count\n\
        FROM scratch AS files\nCOPY --from=one /result /\nCOPY --from=two /count /\n\
        FROM base\nRUN --mount=type=bind,from=files,target=/files --mount=type=tmpfs,target=/scratch touch /scratch/x && cat /files/result /files/count && echo no > /files/x || echo refused\n\
        RUN ls -d /files /scratch 2>/dev/null | wc -l\nENTRYPOINT [\"echo\"]\nCMD [\"both\"]\n";
    let folder = context(lab, &[("Dockerfile", dockerfile)])?;
    let folder = folder.display();
    let output = lab.client.ok(&format!("build -t staged --build-arg BASE=base --build-arg WORD=given {folder}"))?;
    has(&output, "one given\n1\n")?;
    has(&output, "refused")?;
    eq("mount points are gone", output.lines().filter(|line| line.trim() == "0").count(), 1)?;
    eq("runs", lab.client.ok("run --rm staged")?.as_str(), "both")?;
    // Caches last, and a target needs only its own stages.
    let output = lab.client.ok(&format!("build --no-cache --build-arg BASE=base {folder}"))?;
    has(&output, "one default\n2\n")?;
    lab.client.ok(&format!("build --target one --build-arg BASE=base {folder}"))?;
    lab.client
        .fails(9, &format!("build --target unused --build-arg BASE=base {folder}"))?
        .stderr_has("returned a non-zero code: 9")?;
    lab.client
        .fails(1, &format!("build --target none --build-arg BASE=base {folder}"))?
        .stderr_has("target stage \"none\" could not be found")?;
    Ok(())
}

/// What `.dockerignore` and deletions hide must be in no layer.
fn build_secrets_of_the_file_system(lab: &mut Lab) -> Result<()> {
    let dockerfile = "FROM base\nRUN echo old > /gone && mkdir /opaque && echo old > /opaque/old\nRUN rm /gone && rm -r /opaque && mkdir /opaque && echo new > /opaque/new\nRUN ls / /opaque\n";
    let folder = context(lab, &[("Dockerfile", dockerfile)])?;
    lab.client.ok(&format!("build -t removed {}", folder.display()))?;
    eq("whiteout and opaque directory", lab.client.ok("run --rm removed ls /opaque")?.as_str(), "new")?;
    lab.client.fails(1, "run --rm removed cat /gone")?.stderr_has("No such file")?;
    Ok(())
}

fn build_contexts(lab: &mut Lab) -> Result<()> {
    let folder = context(lab, &[("sub/My.Dockerfile", "FROM base\nCOPY f /f\nCMD cat /f\n"), ("f", "from file")])?;
    let (folder, outside) = (folder.display().to_string(), lab.daemon.tmp().join("Outside"));
    lab.client.ok(&format!("build -t other -f {folder}/sub/My.Dockerfile {folder}"))?;
    eq("runs", lab.client.ok("run --rm other")?.as_str(), "from file")?;
    fs::write(&outside, "FROM base\nCOPY f /f\nCMD [\"cat\", \"/f\"]\n")?;
    lab.client.ok(&format!("build -t outside -f {} {folder}", outside.display()))?;
    eq("runs", lab.client.ok("run --rm outside")?.as_str(), "from file")?;
    // A Dockerfile alone, an archive, a compressed archive.
    let id = lab.client.ok_with("build -q -", b"FROM base\nCMD [\"echo\", \"stdin\"]\n")?;
    eq("runs", lab.client.ok(&format!("run --rm {}", id.trim()))?.as_str(), "stdin")?;
    let archive = tar::Builder::new()
        .file("Dockerfile", 0o644, b"FROM base\nCOPY x /\nCMD [\"cat\", \"/x\"]\n")
        .file("x", 0o644, b"archived")
        .finish();
    for bytes in [archive.clone(), tar::gzip(&archive)] {
        let id = lab.client.ok_with("build -q -", &bytes)?;
        eq("runs", lab.client.ok(&format!("run --rm {}", id.trim()))?.as_str(), "archived")?;
    }
    let iid = lab.daemon.tmp().join("iid");
    lab.client.ok(&format!("build -q --iidfile {} -f {folder}/sub/My.Dockerfile {folder}", iid.display()))?;
    has(&fs::read_to_string(iid)?, "sha256:")
}

fn build_fails_with_the_line(lab: &mut Lab) -> Result<()> {
    for (dockerfile, text) in [
        ("FROM base\nRUNN true\n", "dockerfile parse error on line 2: unknown instruction: RUNN (did you mean RUN?)"),
        ("FROM base\nRUN exit 3\n", "returned a non-zero code: 3"),
        ("FROM base\nCOPY --form=x a b\n", "unknown flag: --form (did you mean from?)"),
        ("FROM base\nCOPY missing /x\n", "file not found in build context or excluded by .dockerignore"),
        (
            "FROM base AS a\nCOPY --from=b / /\nFROM base AS b\nCOPY --from=a / /\n",
            "circular dependency detected on stage",
        ),
        ("RUN true\n", "no build stage in current context"),
        ("", "file with no instructions"),
        ("FROM base\nRUN <<EOF\nnever ends\n", "unterminated heredoc"),
        ("# syntax=example.com/other\nFROM base\n", "the frontend image"),
        ("FROM base\nRUN --security=insecure true\n", "security.insecure is not allowed"),
        ("FROM base\nRUN --mount=type=secret,id=x,required true\n", "secret x: not found"),
    ] {
        context(lab, &[])?;
        let failure = lab.client.run_with("build -", dockerfile.as_bytes())?;
        eq(dockerfile, failure.code == 0, false)?;
        has(&format!("{}{}", failure.stdout, failure.stderr), text)?;
    }
    Ok(())
}

fn build_ignores(lab: &mut Lab) -> Result<()> {
    let files = [
        ("Dockerfile", "FROM base\nCOPY . /all\nRUN find /all -type f | sort\n"),
        (".dockerignore", "secret*\nnode_modules\n!node_modules/keep\nDockerfile\n"),
        ("secret.txt", "s"),
        ("node_modules/a", "a"),
        ("node_modules/keep", "k"),
        ("seen", "x"),
    ];
    let folder = context(lab, &files)?;
    let output = lab.client.ok(&format!("build {}", folder.display()))?;
    has(&output, "/all/.dockerignore\n/all/node_modules/keep\n/all/seen\n")?;
    eq(
        "hidden",
        output.contains("/all/secret.txt") || output.contains("node_modules/a\n") || output.contains("/all/Dockerfile"),
        false,
    )
}

fn build_is_reproducible(lab: &mut Lab) -> Result<()> {
    let folder = context(
        lab,
        &[("Dockerfile", "FROM base\nCOPY f /f\nRUN date > /dev/null; mkdir /made; echo x > /made/x\n"), ("f", "x")],
    )?;
    let folder = folder.display();
    let build = |lab: &mut Lab| {
        lab.client.ok(&format!("build -q --no-cache --build-arg SOURCE_DATE_EPOCH=1700000000 {folder}"))
    };
    let first = build(lab)?;
    eq("the same image", build(lab)?, first.clone())?;
    let created = lab.client.ok(&format!("inspect -f '{{{{.Created}}}}' {}", first.trim()))?;
    eq("its time", created.trim(), "2023-11-14T22:13:20Z")
}

fn build_adds_archives(lab: &mut Lab) -> Result<()> {
    let folder = context(
        lab,
        &[(
            "Dockerfile",
            "FROM base\nADD a.tar.gz /unpacked/\nADD --unpack=false a.tar.gz /whole/\nCOPY a.tar.gz /copied\nRUN find /unpacked /whole /copied | sort; stat -c %u /unpacked/d/f\n",
        )],
    )?;
    let archive = tar::Builder::new().file("d/f", 0o600, b"x").finish();
    fs::write(folder.join("a.tar.gz"), tar::gzip(&archive))?;
    let output = lab.client.ok(&format!("build {}", folder.display()))?;
    has(&output, "/copied\n/unpacked\n/unpacked/d\n/unpacked/d/f\n/whole\n/whole/a.tar.gz\n")
}

/// CVE-2024-23651, CVE-2024-23652 and their like: a link in a stage or a context leads nowhere outside of it.
fn build_follows_no_link_out(lab: &mut Lab) -> Result<()> {
    let dockerfile = "FROM base AS evil\nRUN ln -s /proc/1/root/etc /out && ln -s ../../../../../../etc/shadow /shadow && mkdir /d && ln -s / /d/up\n\
        FROM base\nRUN --mount=type=bind,from=evil,target=/m ls /m/out/ 2>&1 | head -1\nRUN --mount=type=cache,target=/d/../../../x true\nCOPY --from=evil /d /copied\n\
        RUN readlink /copied/up\n";
    let folder = context(lab, &[("Dockerfile", dockerfile)])?;
    std::os::unix::fs::symlink("/etc/shadow", folder.join("shadow"))?;
    std::os::unix::fs::symlink("/etc", folder.join("config"))?;
    let folder = folder.display();
    lab.client.ok(&format!("build {folder}"))?;
    for source in ["--from=evil /shadow", "--from=evil /out/hostname", "shadow", "config/shadow"] {
        let text = format!(
            "FROM base AS evil\nRUN ln -s /proc/1/root/etc /out; ln -s ../../../../../../etc/shadow /shadow\nFROM base\nCOPY {source} /x\n"
        );
        fs::write(lab.daemon.tmp().join("context/Dockerfile"), text)?;
        lab.client.fails(1, &format!("build {folder}"))?.stderr_has("file not found in build context")?;
    }
    Ok(())
}
