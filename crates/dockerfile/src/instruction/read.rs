//! From the parse tree to typed instructions, with every rule that one instruction alone can break.

use api::duration;

use super::{Argument, Command, Instruction, Kind, Network, Run, Transfer};
use crate::device::Device;
use crate::error::Error;
use crate::flag::{Flags, Takes};
use crate::heredoc::Heredoc;
use crate::node::{Arguments, Node};

const NONE: &[(&str, Takes)] = &[];
const FROM: &[(&str, Takes)] = &[("platform", Takes::Text)];
const RUN: &[(&str, Takes)] =
    &[("mount", Takes::Texts), ("network", Takes::Text), ("security", Takes::Text), ("device", Takes::Texts)];
const COPY: &[(&str, Takes)] = &[
    ("from", Takes::Text),
    ("chown", Takes::Text),
    ("chmod", Takes::Text),
    ("link", Takes::Bool),
    ("parents", Takes::Bool),
    ("exclude", Takes::Texts),
];
const ADD: &[(&str, Takes)] = &[
    ("chown", Takes::Text),
    ("chmod", Takes::Text),
    ("link", Takes::Bool),
    ("exclude", Takes::Texts),
    ("checksum", Takes::Text),
    ("keep-git-dir", Takes::Bool),
    ("unpack", Takes::Bool),
];
const HEALTHCHECK: &[(&str, Takes)] = &[
    ("interval", Takes::Text),
    ("timeout", Takes::Text),
    ("start-period", Takes::Text),
    ("start-interval", Takes::Text),
    ("retries", Takes::Text),
];

/// One millisecond, in nanoseconds: the least that a health check accepts.
const MILLISECOND: i64 = 1_000_000;

impl Instruction {
    /// Reads a node.
    pub fn of_node(node: &Node) -> Result<Instruction, Error> {
        let reader = Reader { node, keyword: node.keyword.to_ascii_uppercase() };
        Ok(Instruction {
            kind: reader.kind()?,
            keyword: node.keyword.clone(),
            original: node.original.clone(),
            lines: node.lines,
            comments: node.comments.clone(),
        })
    }
}

struct Reader<'a> {
    node: &'a Node,
    keyword: String,
}

impl Reader<'_> {
    fn error(&self, message: impl Into<String>) -> Error {
        Error::new(self.node.lines, message).at(&self.node.keyword)
    }

    fn flags(&self, known: &'static [(&'static str, Takes)]) -> Result<Flags, Error> {
        Flags::parse(&self.node.flags, known, self.node.lines)
    }

    fn words(&self) -> &[String] {
        match &self.node.arguments {
            Arguments::Words { words, .. } => words,
            _ => &[],
        }
    }

    fn json(&self) -> bool {
        matches!(&self.node.arguments, Arguments::Words { json: true, .. } | Arguments::Health { json: true, .. })
    }

    fn one(&self) -> Result<String, Error> {
        self.flags(NONE)?;
        match self.words() {
            [word] if !word.is_empty() => Ok(word.clone()),
            _ => Err(self.error(format!("{} requires exactly one argument", self.keyword))),
        }
    }

    fn some(&self) -> Result<Vec<String>, Error> {
        if self.words().is_empty() {
            return Err(self.error(format!("{} requires at least one argument", self.keyword)));
        }
        Ok(self.words().to_vec())
    }

    fn kind(&self) -> Result<Kind, Error> {
        Ok(match self.keyword.as_str() {
            "FROM" => self.from()?,
            "ARG" => self.arg()?,
            "ENV" | "LABEL" => {
                self.flags(NONE)?;
                let Arguments::Pairs { pairs, equals } = &self.node.arguments else {
                    return Err(self.error(format!("{} requires at least one argument", self.keyword)));
                };
                if pairs.is_empty() {
                    return Err(self.error(format!("{} requires at least one argument", self.keyword)));
                }
                if pairs.iter().any(|(name, _)| name.is_empty()) {
                    return Err(self.error(format!("{} names can not be blank", self.keyword)));
                }
                let (pairs, equals) = (pairs.clone(), *equals);
                if self.keyword == "ENV" { Kind::Env { pairs, equals } } else { Kind::Label { pairs, equals } }
            }
            "MAINTAINER" => Kind::Maintainer(self.one()?),
            "RUN" => Kind::Run(self.run()?),
            "COPY" => Kind::Copy(self.transfer(COPY)?),
            "ADD" => Kind::Add(self.transfer(ADD)?),
            "CMD" => Kind::Cmd(self.plain_command()?),
            "ENTRYPOINT" => {
                let command = self.plain_command()?;
                Kind::Entrypoint(command)
            }
            "EXPOSE" => {
                self.flags(NONE)?;
                Kind::Expose(self.some()?)
            }
            "VOLUME" => {
                self.flags(NONE)?;
                let paths: Vec<String> = self.some()?.iter().map(|path| path.trim().to_string()).collect();
                if paths.iter().any(String::is_empty) {
                    return Err(self.error("VOLUME specified can not be an empty string"));
                }
                Kind::Volume(paths)
            }
            "USER" => Kind::User(self.one()?),
            "WORKDIR" => Kind::Workdir(self.one()?),
            "STOPSIGNAL" => Kind::StopSignal(self.one()?),
            "SHELL" => {
                self.flags(NONE)?;
                match (self.words(), self.json()) {
                    ([], true) => return Err(self.error("SHELL requires at least one argument")),
                    (words, true) => Kind::Shell(words.to_vec()),
                    _ => return Err(self.error("SHELL requires the arguments to be in JSON form")),
                }
            }
            "HEALTHCHECK" => self.healthcheck()?,
            "ONBUILD" => self.onbuild()?,
            other => return Err(self.error(format!("unknown instruction: {other}"))),
        })
    }

    fn from(&self) -> Result<Kind, Error> {
        let flags = self.flags(FROM)?;
        let (image, name, as_keyword) = match self.words() {
            [image] => (image, None, None),
            [image, keyword, name] if keyword.eq_ignore_ascii_case("as") => (image, Some(name), Some(keyword.clone())),
            _ => return Err(self.error("FROM requires either one or three arguments")),
        };
        if let Some(name) = name {
            let valid = name.starts_with(|c: char| c.is_ascii_alphabetic())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
            if !valid {
                let text = format!(
                    "invalid name for build stage: {name:?}, name can't start with a number or contain symbols"
                );
                return Err(Error::new(self.node.lines, text).at(name));
            }
        }
        Ok(Kind::From {
            image: image.clone(),
            name: name.map(|name| name.to_ascii_lowercase()),
            name_as_written: name.cloned(),
            platform: flags.text("platform"),
            as_keyword,
        })
    }

    fn arg(&self) -> Result<Kind, Error> {
        self.flags(NONE)?;
        let arguments = self.some()?.into_iter().map(|word| {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) => (name.to_string(), Some(value.to_string())),
                None => (word, None),
            };
            if name.is_empty() { Err(self.error("ARG names can not be blank")) } else { Ok(Argument { name, value }) }
        });
        Ok(Kind::Arg(arguments.collect::<Result<_, Error>>()?))
    }

    fn plain_command(&self) -> Result<Command, Error> {
        self.flags(NONE)?;
        if self.keyword == "ENTRYPOINT" && self.words().is_empty() && !self.json() {
            return Err(self.error("ENTRYPOINT requires at least one argument"));
        }
        Ok(self.command())
    }

    fn command(&self) -> Command {
        Command { words: self.words().to_vec(), shell: !self.json() }
    }

    fn run(&self) -> Result<Run, Error> {
        let flags = self.flags(RUN)?;
        if self.words().is_empty() {
            return Err(self.error("RUN requires at least one argument"));
        }
        let network = match flags.get("network") {
            None | Some("" | "default") => Network::Default,
            Some("none") => Network::None,
            Some("host") => Network::Host,
            Some(other) => {
                return Err(Error::new(self.node.lines, format!("unsupported network mode {other:?}")).at("--network"));
            }
        };
        let insecure = match flags.get("security") {
            None | Some("sandbox") => false,
            Some("insecure") => true,
            Some(other) => {
                return Err(Error::new(self.node.lines, format!("security {other:?} is not valid")).at("--security"));
            }
        };
        let devices = flags.texts("device").into_iter().map(|device| Device::parse(&device, self.node.lines));
        let devices = devices.collect::<Result<_, _>>()?;
        Ok(Run {
            command: self.command(),
            files: self.node.heredocs.clone(),
            mounts: flags.texts("mount"),
            network,
            insecure,
            devices,
        })
    }

    fn transfer(&self, known: &'static [(&'static str, Takes)]) -> Result<Transfer, Error> {
        let flags = self.flags(known)?;
        let words = self.some()?;
        let Some((destination, sources)) = words.split_last().filter(|(_, sources)| !sources.is_empty()) else {
            let text = format!(
                "{} requires at least two arguments, but only one was provided. Destination could not be determined",
                self.keyword
            );
            return Err(self.error(text));
        };
        let heredocs = &self.node.heredocs;
        let is_heredoc = |word: &str| {
            !self.json()
                && Heredoc::parse(word).is_some_and(|found| heredocs.iter().any(|known| known.name == found.name))
        };
        if is_heredoc(destination) {
            return Err(self.error(format!("{} cannot accept a heredoc as a destination", self.keyword)));
        }
        let optional = |name: &str| flags.get(name).map(|value| value == "true");
        Ok(Transfer {
            sources: sources.iter().filter(|word| !is_heredoc(word)).cloned().collect(),
            contents: heredocs.clone(),
            destination: destination.clone(),
            from: flags.text("from"),
            chown: flags.text("chown"),
            chmod: flags.text("chmod"),
            link: flags.is_set("link"),
            parents: flags.is_set("parents"),
            excludes: flags.texts("exclude"),
            checksum: flags.text("checksum"),
            keep_git_dir: optional("keep-git-dir"),
            unpack: optional("unpack"),
        })
    }

    fn healthcheck(&self) -> Result<Kind, Error> {
        let flags = self.flags(HEALTHCHECK)?;
        let Arguments::Health { kind, command, json } = &self.node.arguments else {
            return Err(self.error("HEALTHCHECK requires at least one argument"));
        };
        if kind.eq_ignore_ascii_case("none") {
            if !command.is_empty() {
                return Err(self.error("HEALTHCHECK NONE takes no arguments"));
            }
            return Ok(Kind::Healthcheck(None));
        }
        if !kind.eq_ignore_ascii_case("cmd") {
            return Err(self.error(format!("Unknown type {kind:?} in HEALTHCHECK (try CMD)")).at(kind));
        }
        if command.is_empty() {
            return Err(self.error("Missing command after HEALTHCHECK CMD"));
        }
        let mut test = vec![if *json { "CMD" } else { "CMD-SHELL" }.to_string()];
        test.extend(command.iter().cloned());
        let time = |name: &str| -> Result<i64, Error> {
            let Some(text) = flags.get(name).filter(|text| !text.is_empty()) else { return Ok(0) };
            let value = duration::parse(text).map_err(|invalid| self.error(invalid.0).at(format!("--{name}")))?;
            if value != 0 && value < MILLISECOND {
                return Err(self.error(format!("Interval {name:?} cannot be less than 1ms")).at(format!("--{name}")));
            }
            Ok(value)
        };
        let retries = match flags.get("retries").filter(|text| !text.is_empty()) {
            None => 0,
            Some(text) => {
                let number: i64 = text
                    .parse()
                    .map_err(|_| self.error(format!("invalid number of retries {text:?}")).at("--retries"))?;
                if number < 0 {
                    return Err(self.error(format!("--retries cannot be negative ({number})")).at("--retries"));
                }
                number
            }
        };
        Ok(Kind::Healthcheck(Some(oci::Healthcheck {
            test,
            interval: time("interval")?,
            timeout: time("timeout")?,
            start_period: time("start-period")?,
            start_interval: time("start-interval")?,
            retries,
        })))
    }

    fn onbuild(&self) -> Result<Kind, Error> {
        self.flags(NONE)?;
        let Arguments::Trigger(trigger) = &self.node.arguments else {
            return Err(self.error("ONBUILD requires at least one argument"));
        };
        let keyword = trigger.keyword.to_ascii_uppercase();
        if keyword == "FROM" || keyword == "MAINTAINER" {
            return Err(self.error(format!("{keyword} isn't allowed as an ONBUILD trigger")));
        }
        let mut node = trigger.as_ref().clone();
        node.heredocs.clone_from(&self.node.heredocs);
        let mut text = trigger.original.clone();
        for heredoc in &self.node.heredocs {
            text = format!("{text}\n{}{}", heredoc.content, heredoc.name);
        }
        Ok(Kind::Onbuild { trigger: text, instruction: Box::new(Instruction::of_node(&node)?) })
    }
}
