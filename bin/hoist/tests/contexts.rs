//! Contexts: what docker 28.2.2 prints for the same arguments, and that both clients see the same ones.

mod support;

use std::path::PathBuf;
use std::process::{Command, Output};

use support::{Stub, empty, json, text};

/// A home directory and the stub it talks to.
struct Home {
    stub: Stub,
}

impl Home {
    fn new() -> Home {
        Home {
            stub: Stub::start(|request, _| match request.path.as_str() {
                "/containers/json" => json(200, serde_json::json!([])),
                _ => empty(404),
            }),
        }
    }

    fn path(&self) -> PathBuf {
        self.stub.directory.clone()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.stub.command("docker");
        command.env_remove("HOIST_HOST").env("HOME", self.path()).current_dir(self.path()).args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("runs")
    }

    /// Status, standard output and standard error, with the home directory as `HOME`.
    fn said(&self, line: &str) -> (i32, String, String) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.run(&words);
        let home = self.path().display().to_string();
        let plain = |bytes: &[u8]| text(bytes).replace(&home, "HOME");
        (output.status.code().unwrap_or(-1), plain(&output.stdout), plain(&output.stderr))
    }
}

#[test]
fn words_of_docker() {
    let home = Home::new();
    let missing = "context \"nope\": context not found: open HOME/.docker/contexts/meta/ca3704aa0b06f5954c79ee837faa152d84d6b2d42838f0637a15eda8337dbdce/meta.json: no such file or directory\n";
    for (line, code, out, err) in [
        ("context show", 0, "default\n", ""),
        (
            "context create x",
            1,
            "",
            "context name \"x\" is invalid, names are validated against regexp \"^[a-zA-Z0-9][a-zA-Z0-9_.+-]+$\"\n",
        ),
        ("context create default", 1, "", "\"default\" is a reserved context name\n"),
        (
            "context create ab --docker foo=bar",
            1,
            "",
            "unable to create docker endpoint config: unrecognized config key: foo\n",
        ),
        (
            "context create ab --docker host=nonsense",
            1,
            "",
            "unable to create docker endpoint config: unable to apply docker endpoint options: unable to parse docker host `nonsense`\n",
        ),
        (
            "context create e2 --docker skip-tls-verify=maybe",
            1,
            "",
            "unable to create docker endpoint config: skip-tls-verify: parsing \"maybe\": invalid syntax\n",
        ),
        (
            "context create b2 --docker host=unix:///x,ca=nofile",
            1,
            "",
            "unable to create docker endpoint config: open nofile: no such file or directory\n",
        ),
        ("context create cp2 --from nope", 1, "", missing),
        (
            "context create e1 --docker host=tcp://1.1.1.1,skip-tls-verify=true",
            0,
            "e1\n",
            "Successfully created context \"e1\"\n",
        ),
        ("context create ssh1 --docker host=ssh://me@there", 0, "ssh1\n", "Successfully created context \"ssh1\"\n"),
        ("context create cq --from e1 --docker host=tcp://q:1", 1, "", "cannot use --docker flag when --from is set\n"),
        ("context create cp --from e1 --description d2", 0, "cp\n", "Successfully created context \"cp\"\n"),
        ("context create cp", 1, "", "context \"cp\" already exists\n"),
        ("context ls -q", 0, "cp\ndefault\ne1\nssh1\n", ""),
        ("context use nope", 1, "", missing),
        ("context use e1", 0, "e1\n", "Current context is now \"e1\"\n"),
        ("context show", 0, "e1\n", ""),
        ("context rm e1", 1, "", "context \"e1\" is in use, set -f flag to force remove\n"),
        ("context rm default", 1, "", "context \"default\" cannot be removed\n"),
        ("context rm nope", 1, "", "context \"nope\" does not exist\n"),
        ("context export e1", 0, "", "Written file \"e1.dockercontext\"\n"),
        ("context export e1", 1, "", "open e1.dockercontext: file exists\n"),
        ("context import yy e1.dockercontext", 0, "yy\n", "Successfully imported context \"yy\"\n"),
        ("context import yy e1.dockercontext", 1, "", "context \"yy\" already exists\n"),
        ("context import zz nofile", 1, "", "open nofile: no such file or directory\n"),
        (
            "context inspect -f {{.Endpoints.docker.Host}}|{{.Endpoints.docker.SkipTLSVerify}} yy",
            0,
            "tcp://1.1.1.1|true\n",
            "",
        ),
        ("context update yy --docker host=unix:///q", 0, "yy\n", "Successfully updated context \"yy\"\n"),
        ("context inspect -f {{.Endpoints.docker.Host}} yy", 0, "unix:///q\n", ""),
        ("context update nope", 1, "", missing),
        ("context rm -f e1 cp", 0, "e1\ncp\n", ""),
        ("context show", 0, "default\n", ""),
        ("context inspect nope", 1, "[]\n", missing),
        ("-c ssh1 -H unix:///x ps", 1, "", "conflicting options: cannot specify both --host and --context\n"),
    ] {
        assert_eq!(home.said(line), (code, out.to_owned(), err.to_owned()), "{line}");
    }
    let (code, _, err) = home.said("-c nope ps");
    assert_eq!((code, err), (1, format!("Failed to initialize: unable to resolve docker endpoint: {missing}")));
}

#[test]
fn tables_and_documents() {
    let home = Home::new();
    home.run(&["context", "create", "e1", "--docker", "host=tcp://1.1.1.1", "--description", "some thing"]);
    let mut command = home.command(&["context", "ls"]);
    let output = command.env("DOCKER_HOST", "unix:///a").output().expect("runs");
    assert_eq!(
        text(&output.stdout),
        "NAME        DESCRIPTION                               DOCKER ENDPOINT   ERROR\n\
         default *   Current DOCKER_HOST based configuration   unix:///a         \n\
         e1          some thing                                tcp://1.1.1.1     \n"
    );
    assert!(
        text(&output.stderr).starts_with("Warning: DOCKER_HOST environment variable overrides the active context.")
    );
    assert_eq!(
        home.said("context inspect e1").1,
        "[\n    {\n        \"Name\": \"e1\",\n        \"Metadata\": {\n            \"Description\": \"some thing\"\n        },\n        \"Endpoints\": {\n            \"docker\": {\n                \"Host\": \"tcp://1.1.1.1\",\n                \"SkipTLSVerify\": false\n            }\n        },\n        \"TLSMaterial\": {},\n        \"Storage\": {\n            \"MetadataPath\": \"HOME/.docker/contexts/meta/ID\",\n            \"TLSPath\": \"HOME/.docker/contexts/tls/ID\"\n        }\n    }\n]\n"
            .replace("ID", "8b5cc4df7eec7d32a7814eca4af047ae33b2d52342667715682e19c25b0b9faa")
    );
}

/// The address of a context is the one that is talked to; flags and variables come first.
#[test]
fn the_chosen_daemon_is_asked() {
    let home = Home::new();
    let host = format!("host={}", home.stub.host());
    assert!(home.run(&["context", "create", "stub", "--docker", &host]).status.success());
    let asked = || home.stub.requests().len();
    assert!(home.run(&["-c", "stub", "ps"]).status.success());
    assert_eq!(asked(), 1);
    assert!(home.command(&["ps"]).env("DOCKER_CONTEXT", "stub").status().expect("runs").success());
    assert_eq!(asked(), 2);
    assert!(home.run(&["context", "use", "stub"]).status.success());
    assert!(home.run(&["ps"]).status.success());
    assert_eq!(asked(), 3);
    // A variable with an address wins over what is configured.
    let output = home.command(&["ps"]).env("DOCKER_HOST", "unix:///nonexistent/x").output().expect("runs");
    assert!(text(&output.stderr).contains("unix:///nonexistent/x"), "{}", text(&output.stderr));
    assert_eq!(asked(), 3);
    let config = std::fs::read_to_string(home.path().join(".docker/config.json")).expect("config");
    assert_eq!(config, "{\n\t\"auths\": {},\n\t\"currentContext\": \"stub\"\n}");
}

/// `ssh://` runs ssh with the words for the other side; here a script plays ssh and the other side.
#[test]
fn over_ssh() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let bin = home.path().join("bin");
    std::fs::create_dir(&bin).expect("directory");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_hoist"), bin.join("docker")).expect("link");
    let script = "#!/bin/sh\necho \"$@\" >> \"$HOME/said\"\nwhile [ \"$1\" != -- ]; do shift; done\nshift 2\nexport DOCKER_HOST=\"$FAR\"\nunset DOCKER_CONTEXT\nexec sh -c \"$*\"\n";
    std::fs::write(bin.join("ssh"), script).expect("script");
    std::fs::set_permissions(bin.join("ssh"), std::fs::Permissions::from_mode(0o755)).expect("mode");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    let output = home
        .command(&["-H", "ssh://me@far:2222", "ps", "-q"])
        .env("PATH", path)
        .env("FAR", home.stub.host())
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(home.stub.lines(), ["GET /containers/json"]);
    let said = std::fs::read_to_string(home.path().join("said")).expect("what ssh was told");
    assert!(said.starts_with("-o ConnectTimeout=30 -T -l me -p 2222 -- far sh -c "), "{said}");
    // Without the program, it is named.
    let output = home.command(&["-H", "ssh://far", "ps"]).env("PATH", "/nonexistent").output().expect("runs");
    assert!(text(&output.stderr).contains("the program ssh is not in PATH"), "{}", text(&output.stderr));
}

/// Programs that add commands.
#[test]
fn programs_that_add_commands() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let plugins = home.path().join(".docker/cli-plugins");
    std::fs::create_dir_all(&plugins).expect("directory");
    let metadata = r#"{"SchemaVersion":"0.1.0","Vendor":"V","Version":"v1","ShortDescription":"Says things"}"#;
    let script = format!(
        "#!/bin/sh\nif [ \"$1\" = docker-cli-plugin-metadata ]; then echo '{metadata}'; exit 0; fi\necho \"$DOCKER_HOST|$@\"\nexit 7\n"
    );
    for (name, script) in [("docker-say", script.as_str()), ("docker-bad", "#!/bin/sh\necho '{}'\n")] {
        std::fs::write(plugins.join(name), script).expect("script");
        std::fs::set_permissions(plugins.join(name), std::fs::Permissions::from_mode(0o755)).expect("mode");
    }
    let (code, out, _) = home.said("--debug say hello --flag");
    assert_eq!((code, out.as_str()), (7, "unix:///run/hoist.sock|--debug say hello --flag\n"));
    assert_eq!(home.said("help say").1, "unix:///run/hoist.sock|say --help\n");
    let (_, page, _) = home.said("--help");
    assert!(page.contains("\n  say*        Says things\n"), "{page}");
    assert!(page.contains("Invalid Plugins:\n  bad         plugin SchemaVersion \"\" is not valid"), "{page}");
    let (code, _, err) = home.said("compose up");
    assert_eq!(code, 1);
    assert!(err.contains("'compose' is a command of the program docker-compose"), "{err}");
}
