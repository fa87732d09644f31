//! Options of `run`.

use anyhow::{Result, ensure};
use testkit::harness::{Lab, SOON, Test};
use testkit::{http, registry, tests, wait};

use crate::check::{eq, has, lacks};

pub const TESTS: &[Test] = tests![
    w17_options,
    w17_rm_leaves_nothing,
    w17_link,
    w17_single_dash,
    environment,
    env_file,
    users,
    users_that_are_none,
    working_directory,
    entrypoint,
    hostname,
    init,
];

pub const HOIST_TESTS: &[Test] = tests![hoist only: w17_did_you_mean];

fn w17_options(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let port = registry::free_port()?;
    let dir = lab.daemon.tmp().join("page");
    std::fs::create_dir(&dir)?;
    std::fs::write(dir.join("index.html"), "from the host\n")?;
    let line = format!(
        "run -d -p {port}:80 -v {}:/www -e GREETING=hello --name web busybox sh -c 'echo $GREETING; exec httpd -f -h /www'",
        dir.display()
    );
    lab.client.ok(&line)?;
    let address = ([127, 0, 0, 1], port).into();
    wait::until_true("the page", SOON, || Ok(http::get(address, "/index.html")?.text() == "from the host\n"))?;
    std::fs::write(dir.join("index.html"), "edited\n")?;
    eq("page after the edit", http::get(address, "/index.html")?.text().as_str(), "edited\n")?;
    has(&lab.client.ok("logs web")?, "hello")?;
    let mut pty = lab.client.pty("run --rm -it --name shell busybox sh")?;
    pty.send("echo i$((1+1))t; exit\n")?;
    pty.expect("i2t", SOON)?;
    eq("exit status", pty.wait(SOON)?, 0)?;
    lacks(&lab.client.ok("ps -a --format '{{.Names}}'")?, "shell")
}

fn w17_rm_leaves_nothing(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.run("run --rm -v /anonymous busybox sh -c 'echo x > /anonymous/x; exit 6'")?.code(6)?;
    lab.client.ok("run -d --rm busybox sh -c 'exit 0'")?;
    wait::until_true("both to be removed", SOON, || Ok(lab.client.ok("ps -aq")?.is_empty()))?;
    wait::until_true("their files to be removed", SOON, || {
        let count = |dir: &str| std::fs::read_dir(lab.daemon.data_root().join(dir)).map_or(0, Iterator::count);
        let (containers, volumes) = (count("containers"), count("volumes"));
        ensure!(containers + volumes == 0, "{containers} containers and {volumes} volumes on disk");
        Ok(true)
    })
}

fn w17_link(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name db busybox sleep 1000")?;
    let address = lab.client.field("db", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
    let hosts = lab.client.ok("run --rm --link db:store busybox cat /etc/hosts")?;
    let line = hosts.lines().find(|line| line.split_whitespace().any(|word| word == "store"));
    eq("address of the alias", line.and_then(|line| line.split_whitespace().next()), Some(address.as_str()))?;
    lab.client.fails(125, "run --rm --link nosuch:x busybox true")?.stderr_has("nosuch")?;
    Ok(())
}

/// As the notes write them: the flag parser reads single letters.
fn w17_single_dash(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.fails(125, "run -name x busybox")?.stderr_has("unknown shorthand flag: 'n' in -name")?;
    lab.client.fails(125, "run -rm busybox")?.stderr_has("unknown shorthand flag: 'r' in -rm")?;
    Ok(())
}

fn w17_did_you_mean(lab: &mut Lab) -> Result<()> {
    for (line, hint) in [
        ("run -name x busybox", "did you mean --name"),
        ("run -rm busybox", "did you mean --rm"),
        ("run -link a:b busybox", "did you mean --link"),
    ] {
        has(&lab.client.fails(125, line)?.stderr.to_lowercase(), hint)?;
    }
    Ok(())
}

fn environment(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let client = lab.client.env("PASSED_ON", "from the client");
    let text = client.ok("run --rm -e A=1 -e B='two words' -e PASSED_ON -e NOT_SET_ANYWHERE -e EMPTY= busybox env")?;
    for line in ["A=1", "B=two words", "PASSED_ON=from the client", "EMPTY=", "HOME=/root"] {
        ensure!(text.lines().any(|l| l == line), "lacks {line:?}:\n{text}");
    }
    lacks(&text, "NOT_SET_ANYWHERE")?;
    has(&text, "PATH=/usr/local/sbin:")?;
    has(&text, "HOSTNAME=")?;
    lacks(&text, "TERM=")?;
    lacks(&text, "LISTEN_")?;
    let text = lab.client.ok("run --rm -e PATH=/bin busybox env")?;
    eq("PATH lines", text.lines().filter(|line| line.starts_with("PATH=")).collect::<Vec<_>>(), vec!["PATH=/bin"])
}

fn env_file(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let file = lab.daemon.tmp().join("env");
    std::fs::write(&file, "# a comment\nONE=1\nQUOTED=\"kept\"\n\nFROM_CLIENT\n  \nLAST=a=b\n")?;
    let client = lab.client.env("FROM_CLIENT", "yes");
    let text = client.ok(&format!("run --rm --env-file {} -e ONE=replaced busybox env", file.display()))?;
    for line in ["ONE=replaced", "QUOTED=\"kept\"", "FROM_CLIENT=yes", "LAST=a=b"] {
        ensure!(text.lines().any(|l| l == line), "lacks {line:?}:\n{text}");
    }
    lab.client.fails(125, "run --rm --env-file /nonexistent busybox")?.stderr_has("no such file or directory")?;
    Ok(())
}

fn users(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    for (user, uid, gid, groups) in [
        ("nobody", "65534", "65534", "65534 50"),
        ("www", "33", "33", "33 4 50"),
        ("www:adm", "33", "4", "4"),
        ("1234", "1234", "0", "0"),
        ("1234:5678", "1234", "5678", "5678"),
        ("root", "0", "0", "0"),
    ] {
        let text = lab.client.ok(&format!("run --rm -u {user} busybox sh -c 'id -u; id -g; id -G'"))?;
        let lines: Vec<&str> = text.lines().collect();
        eq(&format!("uid of {user}"), lines[0], uid)?;
        eq(&format!("gid of {user}"), lines[1], gid)?;
        let sorted = |text: &str| {
            let mut all: Vec<String> = text.split_whitespace().map(str::to_string).collect();
            all.sort();
            all
        };
        eq(&format!("groups of {user}"), sorted(lines[2]), sorted(groups))?;
    }
    lab.client.ok("run --rm -u nobody busybox sh -c 'test $HOME = /home'")?;
    let capabilities = lab.client.ok("run --rm -u nobody busybox grep CapEff /proc/self/status")?;
    has(&capabilities, "0000000000000000")
}

/// Answers as dockerd's.
fn users_that_are_none(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    lab.client.ok("run -d --name running busybox sleep 1000")?;
    for (flags, words) in [
        ("-u nosuch", "unable to find user nosuch: no matching entries in passwd file"),
        ("-u root:nosuch", "unable to find group nosuch: no matching entries in group file"),
        ("-u 4294967296", "uids and gids must be in range 0-2147483647"),
        ("-u 1:4294967296", "uids and gids must be in range 0-2147483647"),
        ("--group-add nosuch", "Unable to find group nosuch: no matching entries in group file"),
    ] {
        let output = lab.client.run(&format!("run --rm {flags} busybox true"))?.code(125)?;
        has(&output.stderr, &format!("Error response from daemon: {words}\n"))?;
        lab.client.ok(&format!("create --name box {flags} busybox true"))?;
        let answer = lab.daemon.api("POST", "/containers/box/start", None)?;
        eq(flags, (answer.status, &answer.json()?["message"]), (500, &words.into()))?;
        let state = lab.client.field("box", "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}")?;
        eq("state", state.as_str(), format!("created 128 {words}").as_str())?;
        lab.client.ok("rm box")?;
        if flags.starts_with("-u") {
            let output = lab.client.run(&format!("exec {flags} running true"))?.code(126)?;
            has(&(output.stdout + &output.stderr), words)?;
            let detached = lab.client.fails(1, &format!("exec -d {flags} running true"))?;
            has(&detached.stderr, &format!("Error response from daemon: {words}"))?;
        }
    }
    Ok(())
}

fn working_directory(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    eq("default", lab.client.ok("run --rm busybox pwd")?.as_str(), "/")?;
    eq("given", lab.client.ok("run --rm -w /tmp busybox pwd")?.as_str(), "/tmp")?;
    eq("made when missing", lab.client.ok("run --rm -w /a/b/c busybox pwd")?.as_str(), "/a/b/c")?;
    let output = lab.client.fails(125, "run --rm -w relative busybox pwd")?;
    has(&output.stderr, "working directory 'relative' is invalid, it needs to be an absolute path")?;
    let output = lab.client.run("run --rm -w /etc/passwd busybox pwd")?;
    ensure!(output.code != 0 && output.code < 128, "{}", output.describe());
    Ok(())
}

fn entrypoint(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    eq("with arguments", lab.client.ok("run --rm --entrypoint echo busybox a b")?.as_str(), "a b")?;
    eq("drops the image's command", lab.client.ok("run --rm --entrypoint echo busybox")?.as_str(), "")
}

fn hostname(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let id = lab.client.ok("run -d --name box busybox sleep 1000")?;
    eq("hostname", lab.client.ok("exec box hostname")?.as_str(), &id[..12])?;
    eq("/etc/hostname", lab.client.ok("exec box cat /etc/hostname")?.as_str(), &id[..12])?;
    let hosts = lab.client.ok("exec box cat /etc/hosts")?;
    has(&hosts, "127.0.0.1\tlocalhost")?;
    let address = lab.client.field("box", "{{.NetworkSettings.Networks.bridge.IPAddress}}")?;
    ensure!(hosts.lines().any(|l| l.starts_with(&address) && l.contains(&id[..12])), "{hosts}");
    let text =
        lab.client.ok("run --rm --hostname box --add-host db:10.9.8.7 busybox sh -c 'hostname; cat /etc/hosts'")?;
    has(&text, "box")?;
    has(&text, "10.9.8.7\tdb")
}

fn init(lab: &mut Lab) -> Result<()> {
    lab.pull("busybox")?;
    let text = lab.client.ok("run --rm --init busybox sh -c 'echo $$'")?;
    ensure!(text != "1", "with --init the command is process 1");
    // The init passes signals on and reaps orphans: SIGTERM ends a program that process 1 would ignore.
    lab.client.ok("run -d --name box --init busybox sleep 1000")?;
    lab.client.ok("stop -t 30 box")?;
    eq("exit status", lab.client.field("box", "{{.State.ExitCode}}")?.as_str(), "143")
}
