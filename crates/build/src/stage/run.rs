//! `RUN` in a stage.

pub(crate) mod mounts;
mod written;

use std::collections::BTreeSet;

use api::container::{Config, DeviceMapping, HostConfig};
use dockerfile::Instruction;
use dockerfile::heredoc::Heredoc;
use dockerfile::instruction::{Network, Run};
use dockerfile::mount::Mount;
use dockerfile::word::{Lex, Variables};
use engine::cdi;
use engine::container::step::{self, Output, Step, StepMount};
use oci::Digest;

use super::{Stage, Values, history};
use crate::cache::Key;
use crate::cache::image::Like;
use crate::copy::layer;
use crate::devices;
use crate::emulation;
use crate::error::{Error, Result};
use crate::progress::Event;
use crate::request::NetworkMode;
use mounts::Prepared;

/// Hostname of steps, BuildKit's.
const HOSTNAME: &str = "buildkitsandbox";

impl Stage<'_> {
    pub(super) fn run(&mut self, run: &Run, written: &Instruction) -> Result<()> {
        let build = self.build;
        if run.insecure && !build.request.entitlements.insecure {
            return Err(Error::Invalid("security.insecure is not allowed".into()));
        }
        if run.network == Network::Host
            && !build.request.entitlements.host_network
            && build.request.network != NetworkMode::Host
        {
            return Err(Error::Invalid("network.host is not allowed".into()));
        }
        let (command, script) = self.command(run)?;
        let (declared, proxies) = self.step_arguments();
        let mut environment = self.outcome.config.config.env.clone().unwrap_or_default();
        environment.extend(declared.iter().map(|(name, value)| format!("{name}={value}")));
        let network = match run.network {
            Network::None => "none",
            Network::Host => "host",
            Network::Default => match &build.request.network {
                NetworkMode::Default => "bridge",
                NetworkMode::None => "none",
                NetworkMode::Host => "host",
                NetworkMode::Named(name) => name,
            },
        };
        let parsed =
            run.mounts.iter().map(|mount| Mount::parse(mount, written.lines)).collect::<Result<Vec<_>, _>>()?;
        let vertex = self.vertex(&self.told(&written.original, &parsed), written.lines);
        let working_dir = self.outcome.config.config.working_dir.clone();
        let sources = mounts::sources(self, &parsed, &vertex.digest)?;
        let registered = if run.devices.is_empty() { Vec::new() } else { cdi::known(&cdi::DIRECTORIES) };
        let devices = devices::choose(&run.devices, &build.request.entitlements.devices, &registered)?;
        let devices = Devices::of(&devices)?;

        let mut key = Key::new("run")
            .with("chain", self.chain_bytes())
            .with_all("command", &command)
            .with_all("environment", &environment)
            .with("user", &self.outcome.config.config.user)
            .with("directory", &working_dir)
            .with("network", network)
            .with("insecure", if run.insecure { "1" } else { "" })
            .with_all("device", &devices.names)
            .with_all("host", &build.request.extra_hosts)
            .with("platform", self.platform.to_string())
            .with("epoch", format!("{:?}", build.epoch));
        if let Some(script) = &script {
            key = key.with("script", script.body());
        }
        let key = mounts::key(key, &parsed, &sources)?.finish();
        let created_by = created_by(&declared, &command, script.as_ref());

        let host = HostConfig {
            network_mode: network.to_string(),
            extra_hosts: build.request.extra_hosts.clone().into(),
            privileged: run.insecure,
            ulimits: build.request.ulimits.clone().into(),
            shm_size: build.request.shm_size,
            cgroup_parent: build.request.cgroup_parent.clone(),
            memory: build.request.limits.memory,
            memory_swap: build.request.limits.memory_swap,
            cpu_shares: build.request.limits.cpu_shares,
            cpu_period: build.request.limits.cpu_period,
            cpu_quota: build.request.limits.cpu_quota,
            cpuset_cpus: build.request.limits.cpuset_cpus.clone(),
            cpuset_mems: build.request.limits.cpuset_mems.clone(),
            devices: devices.mappings().into(),
            group_add: devices.groups.clone().into(),
            ..HostConfig::default()
        };
        let hostname = if build.request.hostname.is_empty() { HOSTNAME } else { &build.request.hostname };
        environment.extend(proxies.iter().map(|(name, value)| format!("{name}={value}")));
        let user = self.outcome.config.config.user.clone();
        let (tree, layers) = (self.tree()?, self.outcome.layers().to_vec());
        let shown = command.join(" ");
        let like = if run.mounts.is_empty() { Like::Account } else { Like::Nothing };
        let platform = self.platform.clone();
        let uses_cache = build.uses_cache(self.index);
        self.layer_step(vertex, &key, created_by, like, move |vertex| {
            if !emulation::runs_here(&platform) {
                return Err(emulation::missing(&platform));
            }
            let prepared = Prepared::make(build, uses_cache, &parsed, sources, script.as_ref(), &working_dir, &tree)?;
            let mut environment = environment;
            environment.extend(devices.environment);
            environment.extend(prepared.environment());
            let config = Config {
                hostname: hostname.to_string(),
                cmd: command.into(),
                env: environment.into(),
                user,
                working_dir,
                ..Config::default()
            };
            let mounts = devices.mounts.into_iter().chain(prepared.mounts()).collect();
            let step = Step { layers, config, host, mounts, nodes: devices.nodes };
            let mut output = |stream: Output, data: &[u8]| tell_output(build, vertex, stream, data);
            let ran = step::run(build.engine, step, build.cancel, &mut output)?;
            if build.cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            if ran.code != 0 {
                return Err(Error::Step { command: shown, code: ran.code, oom: ran.oom_killed });
            }
            let entries = written::entries(ran.written()?, &prepared.stubs(), build.epoch_seconds())?;
            layer::write(build.engine.store().layers(), &entries)
        })
    }

    /// The instruction as it is told while it runs: variables have their values, those that are secrets have none.
    fn told(&self, text: &str, mounts: &[Mount]) -> String {
        let lex = Lex::new(self.build.file.directives.escape).raw_quotes().skip_unset();
        let secrets = mounts.iter().filter_map(|mount| mount.env.as_deref()).collect();
        let told = lex.expand(text, &Masked { values: self.values(), secrets });
        told.map_or_else(|_| text.to_owned(), |told| told.text)
    }

    /// The words to run, and a script that has to be mounted for them.
    fn command(&self, run: &Run) -> Result<(Vec<String>, Option<Heredoc>)> {
        let shell = self.shell();
        let Some(first) = run.files.first() else { return Ok((history::command(&run.command, &shell), None)) };
        let [text] = run.command.words.as_slice() else {
            return Err(Error::Invalid(format!("parsing produced an invalid run command: {:?}", run.command.words)));
        };
        if Heredoc::parse(text).is_some() {
            let body = first.body();
            if body.starts_with("#!") {
                return Ok((vec![format!("{}/{}", mounts::SCRIPTS, first.name)], Some(first.clone())));
            }
            return Ok((shell.into_iter().chain([body]).collect(), None));
        }
        // Something more: the shell reads the here-documents itself.
        let mut text = text.clone();
        for file in &run.files {
            text = format!("{text}\n{}{}", file.content, file.name);
        }
        Ok((shell.into_iter().chain([text]).collect(), None))
    }
}

/// Values, and names whose values are secrets.
struct Masked<'a> {
    values: Values<'a>,
    secrets: BTreeSet<&'a str>,
}

impl Variables for Masked<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        if self.secrets.contains(name) { Some("****") } else { self.values.get(name) }
    }
}

fn tell_output(build: &crate::solve::Build<'_>, vertex: &Digest, stream: Output, data: &[u8]) {
    let stream = if stream == Output::Stderr { 2 } else { 1 };
    build.tell(Event::Log { vertex: *vertex, stream, data: data.to_vec(), at: logs::time::now_ns() });
}

/// What a step gets with its devices.
#[derive(Debug, Default)]
struct Devices {
    names: Vec<String>,
    nodes: Vec<cdi::Node>,
    environment: Vec<String>,
    mounts: Vec<StepMount>,
    groups: Vec<String>,
}

impl Devices {
    fn of(chosen: &[&cdi::Known]) -> Result<Devices> {
        let mut devices = Devices::default();
        for device in chosen {
            device.check()?;
            devices.names.push(device.name.clone());
            devices.nodes.extend(device.edits.device_nodes.iter().cloned());
            devices.environment.extend(device.edits.env.iter().cloned());
            devices.groups.extend(device.edits.additional_gids.iter().filter(|gid| **gid != 0).map(u32::to_string));
            devices.mounts.extend(device.edits.mounts.iter().map(|mount| StepMount {
                source: Some(mount.host_path.clone().into()),
                destination: mount.container_path.clone(),
                read_only: mount.options.iter().any(|option| option == "ro"),
                options: Vec::new(),
            }));
        }
        Ok(devices)
    }

    fn mappings(&self) -> Vec<DeviceMapping> {
        let mapping = |node: &cdi::Node| DeviceMapping {
            path_on_host: if node.host_path.is_empty() { node.path.clone() } else { node.host_path.clone() },
            path_in_container: node.path.clone(),
            cgroup_permissions: if node.permissions.is_empty() { "rwm".into() } else { node.permissions.clone() },
        };
        self.nodes.iter().map(mapping).collect()
    }
}

/// `RUN |1 VERSION=3 /bin/sh -c make`
fn created_by(arguments: &[(String, String)], command: &[String], script: Option<&Heredoc>) -> String {
    let mut text = String::from("RUN ");
    if !arguments.is_empty() {
        text.push_str(&format!("|{} ", arguments.len()));
        for (name, value) in arguments {
            text.push_str(&format!("{name}={value} "));
        }
    }
    text.push_str(&command.join(" "));
    if let Some(script) = script {
        text.push_str(&format!(" <<{}", script.name));
    }
    text
}
