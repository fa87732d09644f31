//! What the daemon was told, by flags and by `daemon.json` together.

use crate::file;
use crate::flags::Given;
use anyhow::{anyhow, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Where the configuration is when nobody says so.
const CONFIG_FILE: &str = "/etc/hoist/daemon.json";

/// The containers' place among a service manager's cgroups; its unit sets it.
const CGROUP_PARENT: &str = "HOIST_CGROUP_PARENT";

/// Where clients find the daemon when nobody says so, and the service manager passes no sockets.
const HOST: &str = "unix:///run/hoist.sock";

/// All settings.
#[derive(Debug)]
pub struct Settings {
    pub engine: engine::Config,
    pub hosts: Vec<String>,
    /// `None`: the default groups.
    pub group: Option<String>,
    pub pidfile: PathBuf,
    pub config_file: Option<PathBuf>,
    pub log_level: tracing::Level,
    pub log_json: bool,
    pub debug: bool,
    pub tls: Tls,
    /// TCP without proof on any address.
    pub insecure_tcp: bool,
    /// `host:port` of the counts.
    pub metrics: Option<String>,
    pub validate: bool,
}

/// `--tls…`.
#[derive(Debug, Default)]
pub struct Tls {
    pub on: bool,
    pub verify: bool,
    pub ca: Option<PathBuf>,
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl Tls {
    /// The files, where TLS is asked for.
    pub fn files(&self) -> Option<http_api::Files> {
        if !(self.on || self.verify) {
            return None;
        }
        let directory = std::env::var_os("DOCKER_CERT_PATH").filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".docker");
        let directory = directory.unwrap_or_else(home);
        let file = |given: &Option<PathBuf>, name: &str| given.clone().unwrap_or_else(|| directory.join(name));
        Some(http_api::Files {
            ca: self.verify.then(|| file(&self.ca, "ca.pem")),
            certificate: file(&self.certificate, "cert.pem"),
            key: file(&self.key, "key.pem"),
        })
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            engine: engine::Config::default(),
            hosts: Vec::new(),
            group: None,
            pidfile: "/run/hoist.pid".into(),
            config_file: None,
            log_level: tracing::Level::INFO,
            log_json: false,
            debug: false,
            tls: Tls::default(),
            insecure_tcp: false,
            metrics: None,
            validate: false,
        }
    }
}

impl Settings {
    /// Flags and the file; what both say is an error.
    pub fn read(given: Given) -> anyhow::Result<Self> {
        let mut settings = Self::default();
        for (option, value) in &given {
            (option.set)(&mut settings, value)
                .map_err(|error| anyhow!("invalid argument {value:?} for \"--{}\" flag: {error}", option.flag))?;
        }
        let asked_for = settings.config_file.is_some();
        let path = settings.config_file.clone().unwrap_or_else(|| CONFIG_FILE.into());
        settings
            .add_file(&path, asked_for, &given)
            .map_err(|error| anyhow!("unable to configure the daemon with file {}: {error}", path.display()))?;
        if settings.hosts.is_empty() {
            settings.hosts.push(if http_api::are_sockets_passed() { "fd://" } else { HOST }.to_owned());
        }
        if let Ok(parent) = std::env::var(CGROUP_PARENT) {
            settings.engine.cgroup_parent = Some(cgroup_parent(parent)?);
        }
        if settings.debug {
            settings.log_level = tracing::Level::DEBUG;
        }
        settings.engine.debug = settings.debug;
        crate::commit().clone_into(&mut settings.engine.git_commit);
        if settings.engine.data_root == settings.engine.exec_root {
            bail!("--data-root and --exec-root are the same directory: {}", settings.engine.data_root.display());
        }
        Ok(settings)
    }

    fn add_file(&mut self, path: &Path, asked_for: bool, given: &Given) -> Result<(), String> {
        let rows = file::read(path, asked_for)?;
        let mut from_flags: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (option, value) in given {
            from_flags.entry(option.flag).or_default().push(value);
        }
        let conflicts: Vec<String> = rows
            .iter()
            .filter_map(|(option, values)| {
                let flag = from_flags.get(option.flag)?;
                Some(format!("{}: (from flag: {}, from file: {})", option.key, flag.join(", "), values.join(", ")))
            })
            .collect();
        if !conflicts.is_empty() {
            return Err(format!(
                "the following directives are specified both as a flag and in the configuration file: {}",
                conflicts.join(", ")
            ));
        }
        for (option, values) in rows {
            for value in values {
                (option.set)(self, &value).map_err(|error| format!("the key {:?}: {error}", option.key))?;
            }
        }
        Ok(())
    }
}

/// A path below the roots of the hierarchies.
fn cgroup_parent(path: String) -> anyhow::Result<String> {
    let normal = |part: &str| !part.is_empty() && part != "." && part != "..";
    if !path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(normal)) {
        bail!("the environment variable {CGROUP_PARENT}: {path:?} is no path such as /containers.slice/hoist");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{Parsed, parse};

    /// Settings of a command line and a file.
    fn settings(line: &str, file: &str) -> Result<Settings, String> {
        let directory = std::env::temp_dir().join(format!("hoistd-settings-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let name = format!("{:x}.json", line.len() * 1000 + file.len());
        let path = directory.join(name);
        std::fs::write(&path, file).unwrap();
        let arguments: Vec<String> =
            line.split_whitespace().map(str::to_owned).chain([format!("--config-file={}", path.display())]).collect();
        let Parsed::Run(given) = parse(&arguments)? else { panic!("nothing to run") };
        let read =
            Settings::read(given).map_err(|error| format!("{error:#}").replace(&path.display().to_string(), "FILE"));
        std::fs::remove_file(&path).unwrap();
        read
    }

    #[test]
    fn flags_and_file() {
        let read = settings(
            "-H unix:///a.sock --data-root /x//y/ --mtu 1400 --label a=b --log-opt max-size=1m",
            r#"{"exec-root":"/run/z","dns":["1.1.1.1"],"log-level":"warn","live-restore":true,"userland-proxy":false,"icc":false,"default-ulimits":{"nofile":{"Hard":20,"Soft":10}}}"#,
        )
        .unwrap();
        assert_eq!(read.hosts, ["unix:///a.sock"]);
        assert_eq!((read.engine.data_root, read.engine.exec_root), ("/x/y".into(), "/run/z".into()));
        assert_eq!((read.engine.mtu, read.engine.icc), (Some(1400), false));
        assert_eq!((read.engine.dns, read.engine.labels), (vec!["1.1.1.1".to_owned()], vec!["a=b".to_owned()]));
        assert_eq!(read.engine.log_options["max-size"], "1m");
        assert_eq!(read.log_level, tracing::Level::WARN);
        assert_eq!((read.engine.default_ulimits[0].soft, read.engine.default_ulimits[0].hard), (10, 20));
        let default = settings("", "").unwrap();
        assert_eq!(default.hosts, [HOST]);
        assert_eq!(default.pidfile, Path::new("/run/hoist.pid"));
    }

    #[test]
    fn cgroup_parents() {
        assert_eq!(cgroup_parent("/a.slice/b".into()).unwrap(), "/a.slice/b");
        for bad in ["", "/", "a", "/a/", "/a/../b", "/./a"] {
            assert!(cgroup_parent(bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn refusals_name_the_culprit() {
        for (line, file, text) in [
            (
                "--log-level debug",
                r#"{"log-level":"info"}"#,
                "unable to configure the daemon with file FILE: the following directives are specified both as a flag and in the configuration file: log-level: (from flag: debug, from file: info)",
            ),
            (
                "",
                r#"{"colour":1}"#,
                "unable to configure the daemon with file FILE: the following directives don't match any configuration option: colour",
            ),
            (
                "",
                r#"{"live-restore":false}"#,
                "unable to configure the daemon with file FILE: the key \"live-restore\": cannot be false: hoistd leaves containers running when it ends",
            ),
            (
                "--published-ports closed",
                "",
                "invalid argument \"closed\" for \"--published-ports\" flag: hoistd has no \"closed\", only open, respect-host-firewall",
            ),
            (
                "--userland-proxy",
                "",
                "invalid argument \"true\" for \"--userland-proxy\" flag: cannot be true: hoistd has no proxy: the kernel forwards published ports",
            ),
            (
                "--iptables=false",
                "",
                "invalid argument \"false\" for \"--iptables\" flag: cannot be false: hoistd has an nft table of its own and touches no other",
            ),
            ("--data-root x", "", "invalid argument \"x\" for \"--data-root\" flag: \"x\" is not an absolute path"),
            (
                "--log-driver fluentd",
                "",
                "invalid argument \"fluentd\" for \"--log-driver\" flag: hoistd has no \"fluentd\", only journald, json-file, local, none, syslog",
            ),
            ("--log-level loud", "", "invalid argument \"loud\" for \"--log-level\" flag: invalid logging level: loud"),
            (
                "--icc=maybe",
                "",
                "invalid argument \"maybe\" for \"--icc\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
            ),
            ("--mtu 1", "", "invalid argument \"1\" for \"--mtu\" flag: invalid MTU: 1 (68 to 65535)"),
            (
                "--default-ulimit x=1",
                "",
                "invalid argument \"x=1\" for \"--default-ulimit\" flag: invalid ulimit type: x",
            ),
            ("--data-root /a --exec-root /a", "", "--data-root and --exec-root are the same directory: /a"),
        ] {
            assert_eq!(settings(line, file).unwrap_err(), text, "{line} {file}");
        }
    }
}
