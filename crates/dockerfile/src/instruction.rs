//! Typed instructions.

mod expand;
mod read;

use crate::device::Device;
use crate::error::Lines;
use crate::heredoc::Heredoc;

pub use expand::Unset;

/// Every keyword of the language.
pub const KEYWORDS: &[&str] = &[
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// One instruction and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// What it says.
    pub kind: Kind,
    /// The keyword as written: `RUN`, `run`.
    pub keyword: String,
    /// The text as written, continuations joined: what history shows.
    pub original: String,
    /// Where.
    pub lines: Lines,
    /// The comment lines directly above.
    pub comments: Vec<String>,
}

/// A command in exec form (a list) or in shell form (one string for the shell).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Command {
    /// The list, or the one string.
    pub words: Vec<String>,
    /// To be given to the shell of the stage.
    pub shell: bool,
}

/// `ARG name[=default]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// The name.
    pub name: String,
    /// The default.
    pub value: Option<String>,
}

/// `COPY` and `ADD`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transfer {
    /// Paths, patterns, URLs.
    pub sources: Vec<String>,
    /// Here-documents among the sources: a file each.
    pub contents: Vec<Heredoc>,
    /// Where to; a slash at the end means a directory.
    pub destination: String,
    /// `--from`: a stage, an image, a named context; empty for the build context.
    pub from: String,
    /// `--chown`; empty for 0:0.
    pub chown: String,
    /// `--chmod`: octal or symbolic; empty to keep what is.
    pub chmod: String,
    /// `--link`: a layer of its own, whatever is below.
    pub link: bool,
    /// `--parents`: keep the directories above.
    pub parents: bool,
    /// `--exclude`.
    pub excludes: Vec<String>,
    /// `ADD --checksum`.
    pub checksum: String,
    /// `ADD --keep-git-dir`.
    pub keep_git_dir: Option<bool>,
    /// `ADD --unpack`; by default local archives are, remote ones not.
    pub unpack: Option<bool>,
}

/// `RUN`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Run {
    /// What to run.
    pub command: Command,
    /// Here-documents behind the command.
    pub files: Vec<Heredoc>,
    /// `--mount` as written; [`crate::mount::Mount::parse`] reads them once variables have values.
    pub mounts: Vec<String>,
    /// `--network`: `default`, `none` or `host`.
    pub network: Network,
    /// `--security=insecure`.
    pub insecure: bool,
    /// `--device`.
    pub devices: Vec<Device>,
}

/// The network of a `RUN` step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Network {
    /// That of the build.
    #[default]
    Default,
    /// Loopback only.
    None,
    /// The host's.
    Host,
}

/// What an instruction says. Text is as written: variables have no values yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A base image or an earlier stage.
    From {
        /// The image, stage or named context.
        image: String,
        /// `AS name`, in lower case.
        name: Option<String>,
        /// `AS Name`, as written.
        name_as_written: Option<String>,
        /// `--platform`; empty if not given.
        platform: String,
        /// The word `AS` as written.
        as_keyword: Option<String>,
    },
    /// Build arguments.
    Arg(Vec<Argument>),
    /// Environment.
    Env {
        /// Names and values.
        pairs: Vec<(String, String)>,
        /// Written with `=`.
        equals: bool,
    },
    /// Labels.
    Label {
        /// Names and values.
        pairs: Vec<(String, String)>,
        /// Written with `=`.
        equals: bool,
    },
    /// The author.
    Maintainer(String),
    /// A step.
    Run(Run),
    /// Files from the context, a stage, an image.
    Copy(Transfer),
    /// Files, archives, URLs, repositories.
    Add(Transfer),
    /// What containers run.
    Cmd(Command),
    /// What containers run, before `CMD`.
    Entrypoint(Command),
    /// Ports.
    Expose(Vec<String>),
    /// Volumes.
    Volume(Vec<String>),
    /// User of what follows.
    User(String),
    /// Directory of what follows.
    Workdir(String),
    /// Signal that stops containers.
    StopSignal(String),
    /// The shell of shell forms.
    Shell(Vec<String>),
    /// The health check; `None` switches an inherited one off.
    Healthcheck(Option<oci::Healthcheck>),
    /// An instruction for images built on this one.
    Onbuild {
        /// As it is stored in the image.
        trigger: String,
        /// The instruction.
        instruction: Box<Instruction>,
    },
}
