//! The command line as data: which command takes which options, and what was given.
//!
//! Options may stand before or after the container's id; only `exec` and `ps` end them there, since what follows is
//! another program's. Names and meanings are runc's (`man 8 runc`).

use super::Error;

/// One option of the command line.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    pub name: &'static str,
    /// One letter, or empty.
    pub short: &'static str,
    /// What stands for the value in the usage; empty: the option is a switch.
    pub value: &'static str,
    pub about: &'static str,
}

/// A command with its options.
#[derive(Debug)]
pub struct Command {
    pub name: &'static str,
    /// What stands for its arguments in the usage.
    pub arguments: &'static str,
    pub about: &'static str,
    pub options: &'static [Opt],
    /// The id ends the options.
    pub passes_on: bool,
    pub run: fn(&Given) -> Result<i32, Error>,
}

const fn switch(name: &'static str, short: &'static str, about: &'static str) -> Opt {
    Opt { name, short, value: "", about }
}

const fn value(name: &'static str, short: &'static str, value: &'static str, about: &'static str) -> Opt {
    Opt { name, short, value, about }
}

/// Options of every command.
pub const GLOBAL: &[Opt] = &[
    value("root", "", "DIR", "directory of the containers' records (/run/hoist-runtime)"),
    value("log", "", "FILE", "where errors are noted, beside standard error"),
    value("log-format", "", "FORMAT", "text or json"),
    switch("debug", "", "note every step, too"),
    switch("systemd-cgroup", "", "cgroups are made by systemd; cgroupsPath is slice:prefix:name"),
    value("rootless", "", "WHEN", "without rights on cgroups: auto, true or false"),
];

const CREATE: &[Opt] = &[
    value("bundle", "b", "DIR", "directory of config.json (the current one)"),
    value("console-socket", "", "FILE", "unix socket that gets the terminal"),
    value("pid-file", "", "FILE", "file that gets the process id"),
    value("preserve-fds", "", "N", "keep N further descriptors of the caller open, from 3 on"),
    switch("no-pivot", "", "chroot instead of pivot_root, for a root in a ramdisk"),
    switch("no-new-keyring", "", "leave the caller's session keyring to the container"),
];

const RUN: &[Opt] = &[
    CREATE[0],
    CREATE[1],
    CREATE[2],
    CREATE[3],
    CREATE[4],
    CREATE[5],
    switch("detach", "d", "do not wait for the program"),
    switch("keep", "", "keep the record of a container that has ended"),
    switch("no-subreaper", "", "do not adopt what the container leaves behind"),
];

const EXEC: &[Opt] = &[
    value("process", "p", "FILE", "process as in config.json"),
    CREATE[1],
    CREATE[2],
    CREATE[3],
    switch("detach", "d", "do not wait for the program"),
    switch("tty", "t", "with a terminal"),
    value("cwd", "", "DIR", "working directory"),
    value("env", "e", "NAME=VALUE", "variable; repeatable"),
    value("user", "u", "UID[:GID]", "numeric user and group"),
    value("additional-gids", "g", "GID", "further group; repeatable"),
    value("cap", "c", "CAP", "further capability; repeatable"),
    switch("no-new-privs", "", "set no_new_privs"),
    value("apparmor", "", "PROFILE", "AppArmor profile"),
    value("process-label", "", "LABEL", "SELinux label"),
    value("cgroup", "", "PATH", "cgroup below the container's own; repeatable as CONTROLLER:PATH on version 1"),
    switch("ignore-paused", "", "do not refuse in a paused container"),
];

const SPEC: &[Opt] = &[CREATE[0], switch("rootless", "", "for a user without rights")];

const FORMAT: Opt = value("format", "f", "FORMAT", "table or json");

const UPDATE: &[Opt] = &[
    value("resources", "r", "FILE", "linux.resources as JSON; - is standard input"),
    value("blkio-weight", "", "N", "10 to 1000"),
    value("cpu-period", "", "US", "period of the quota"),
    value("cpu-quota", "", "US", "time in each period; -1 is unlimited"),
    value("cpu-burst", "", "US", "unused time that can be saved up"),
    value("cpu-share", "", "N", "share against others"),
    value("cpu-rt-period", "", "US", "period of realtime scheduling"),
    value("cpu-rt-runtime", "", "US", "realtime in each period"),
    value("cpuset-cpus", "", "LIST", "CPUs to use"),
    value("cpuset-mems", "", "LIST", "memory nodes to use"),
    value("cpu-idle", "", "0|1", "SCHED_IDLE for all"),
    value("memory", "", "BYTES", "limit; k, m, g, t may follow"),
    value("memory-reservation", "", "BYTES", "soft limit"),
    value("memory-swap", "", "BYTES", "memory and swap together; -1 is unlimited"),
    value("kernel-memory", "", "BYTES", "refused: the kernel has no such limit any more"),
    value("kernel-memory-tcp", "", "BYTES", "limit of TCP buffers (cgroup v1)"),
    value("pids-limit", "", "N", "number of tasks; -1 is unlimited"),
    value("l3-cache-schema", "", "SCHEMA", "Intel RDT"),
    value("mem-bw-schema", "", "SCHEMA", "Intel RDT"),
];

const fn command(
    name: &'static str,
    arguments: &'static str,
    about: &'static str,
    options: &'static [Opt],
    run: fn(&Given) -> Result<i32, Error>,
) -> Command {
    Command { name, arguments, about, options, passes_on: false, run }
}

/// Every command, in the order of the usage.
pub const COMMANDS: &[Command] = &[
    command("create", "ID", "make a container of a bundle", CREATE, super::create::command),
    command("start", "ID", "run the program of a created container", &[], super::start::command),
    command("run", "ID", "create, start, wait, delete", RUN, super::run::command),
    command("state", "ID", "print the state as JSON", &[], super::state::command),
    command("list", "", "print all containers", &[FORMAT, switch("quiet", "q", "ids only")], super::list::command),
    Command {
        passes_on: true,
        ..command("ps", "ID", "print the processes of a container", &[FORMAT], super::ps::command)
    },
    Command {
        passes_on: true,
        ..command("exec", "ID [COMMAND [ARG...]]", "run another program in a container", EXEC, super::exec::command)
    },
    command(
        "kill",
        "ID [SIGNAL]",
        "send a signal to the container's first process",
        &[switch("all", "a", "to all of its processes")],
        super::kill::command,
    ),
    command(
        "delete",
        "ID",
        "remove what is left of a container",
        &[switch("force", "f", "kill it first")],
        super::delete::command,
    ),
    command("pause", "ID", "stop all processes of a container", &[], super::pause::pause),
    command("resume", "ID", "let them go on", &[], super::pause::resume),
    command("update", "ID", "change limits", UPDATE, super::update::command),
    command(
        "events",
        "ID",
        "print counters and what happens, as JSON",
        &[switch("stats", "", "counters, once"), value("interval", "", "TIME", "between counters (5s)")],
        super::events::command,
    ),
    command("spec", "", "write a config.json to start from", SPEC, super::spec::command),
    command("features", "", "print what this runtime can do, as JSON", &[], super::features::command),
    command("checkpoint", "ID", "not supported", CHECKPOINT, super::checkpoint),
    command("restore", "ID", "not supported", CHECKPOINT, super::checkpoint),
];

/// Refused as a whole, so that what is asked for need not be known in detail.
const CHECKPOINT: &[Opt] = &[
    CREATE[0],
    CREATE[1],
    CREATE[2],
    value("image-path", "", "DIR", ""),
    value("work-path", "", "DIR", ""),
    value("parent-path", "", "DIR", ""),
    switch("leave-running", "", ""),
    switch("detach", "d", ""),
];

/// What a command line asks for.
#[derive(Debug)]
pub enum Parsed {
    Run(Given),
    Usage(String),
    Version,
    Nothing,
}

/// What was given on the command line.
#[derive(Debug)]
pub struct Given {
    pub command: &'static Command,
    values: Vec<(&'static str, String)>,
    /// The id and what follows it.
    pub words: Vec<String>,
}

impl Given {
    /// Reads a command line.
    pub fn parse(arguments: &[String]) -> Result<Parsed, Error> {
        let (mut command, mut values, mut words) = (None, Vec::new(), Vec::new());
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let ends = command.is_some_and(|command: &Command| command.passes_on && !words.is_empty());
            if ends || !argument.starts_with('-') || argument == "-" {
                match command {
                    Some(_) => words.push(argument.clone()),
                    None => {
                        let known = COMMANDS.iter().find(|command| command.name == argument);
                        command = Some(known.ok_or_else(|| {
                            Error::Usage(format!("no such command: {argument} (hoist-runtime --help lists them)"))
                        })?);
                    }
                }
                continue;
            }
            if argument == "--" {
                words.extend(arguments.by_ref().cloned());
                break;
            }
            let (name, inline) = match argument.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (argument.as_str(), None),
            };
            let opt = match (find(command, name), command, name) {
                (Ok(opt), ..) => opt,
                (Err(_), None, "-h" | "-help" | "--help") => return Ok(Parsed::Usage(usage())),
                (Err(_), Some(command), "-h" | "-help" | "--help") => return Ok(Parsed::Usage(usage_of(command))),
                (Err(_), None, "-v" | "-version" | "--version") => return Ok(Parsed::Version),
                (Err(error), ..) => return Err(error),
            };
            let text = match (opt.value.is_empty(), inline) {
                (true, None) => "true".to_owned(),
                (true, Some(text)) => match text.as_str() {
                    "true" | "1" | "t" | "T" | "TRUE" | "True" => "true".to_owned(),
                    "false" | "0" | "f" | "F" | "FALSE" | "False" => "false".to_owned(),
                    _ => return Err(Error::Usage(format!("invalid boolean value \"{text}\" for {name}"))),
                },
                (false, Some(text)) => text,
                (false, None) => {
                    arguments.next().cloned().ok_or_else(|| Error::Usage(format!("flag needs a value: {name}")))?
                }
            };
            values.push((opt.name, text));
        }
        Ok(command.map_or(Parsed::Nothing, |command| Parsed::Run(Given { command, values, words })))
    }

    #[cfg(test)]
    pub fn of(line: &str) -> Given {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        match Given::parse(&words) {
            Ok(Parsed::Run(given)) => given,
            other => panic!("{line}: {other:?}"),
        }
    }

    /// The last value of an option.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.values(name).last()
    }

    /// All values of an option that can be repeated.
    pub fn values(&self, name: &str) -> impl DoubleEndedIterator<Item = &str> {
        debug_assert!(
            GLOBAL.iter().chain(self.command.options).any(|opt| opt.name == name),
            "{} has no option {name}",
            self.command.name
        );
        self.values.iter().filter(move |(given, _)| *given == name).map(|(_, value)| value.as_str())
    }

    /// Whether a switch is on.
    pub fn is_on(&self, name: &str) -> bool {
        self.value(name) == Some("true")
    }

    /// A number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        let parse =
            |text: &str| text.parse().map_err(|_| Error::Usage(format!("invalid value \"{text}\" for flag --{name}")));
        self.value(name).filter(|text| !text.is_empty()).map(parse).transpose()
    }

    /// The container's id.
    pub fn id(&self) -> Result<&str, Error> {
        let id = self.words.first();
        id.map(String::as_str).ok_or_else(|| Error::Usage(format!("{}: a container id is required", self.command.name)))
    }

    /// The container's id, with at most `more` words after it.
    pub fn id_and(&self, more: usize) -> Result<&str, Error> {
        let id = self.id()?;
        match self.words.get(more + 1) {
            Some(word) => Err(Error::Usage(format!("{}: unexpected argument \"{word}\"", self.command.name))),
            None => Ok(id),
        }
    }
}

fn find(command: Option<&'static Command>, given: &str) -> Result<&'static Opt, Error> {
    let name = given.trim_start_matches('-');
    let fits = |opt: &&Opt| (opt.name == name || (!opt.short.is_empty() && opt.short == name)) && !name.is_empty();
    let own = command.map(|command| command.options).unwrap_or_default();
    own.iter().chain(GLOBAL).find(fits).ok_or_else(|| Error::Usage(format!("flag provided but not defined: {given}")))
}

/// The usage of the whole program.
pub fn usage() -> String {
    let mut text =
        "Usage:  hoist-runtime [OPTIONS] COMMAND [OPTIONS] [ID]\n\nAn OCI runtime.\n\nCommands:\n".to_owned();
    for command in COMMANDS {
        text += &format!("  {:<12} {}\n", command.name, command.about);
    }
    text + "\nOptions:\n" + &option_lines(GLOBAL)
}

/// The usage of one command.
pub fn usage_of(command: &Command) -> String {
    let mut text = format!("Usage:  hoist-runtime {} ", command.name);
    if !command.options.is_empty() {
        text += "[OPTIONS] ";
    }
    text += &format!("{}\n\n{}\n", command.arguments, command.about);
    if !command.options.is_empty() {
        text += &format!("\nOptions:\n{}", option_lines(command.options));
    }
    text
}

fn option_lines(options: &[Opt]) -> String {
    let line = |opt: &Opt| {
        let short = if opt.short.is_empty() { "    ".to_owned() } else { format!("-{}, ", opt.short) };
        format!("  {short}{:<28} {}\n", format!("--{} {}", opt.name, opt.value), opt.about)
    };
    options.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_stand_anywhere() {
        let given = Given::of("--root /r --log-format=json create c1 --bundle /b -b /c --no-pivot=false");
        assert_eq!((given.command.name, given.words.as_slice()), ("create", &["c1".to_owned()][..]));
        assert_eq!((given.value("root"), given.value("bundle")), (Some("/r"), Some("/c")));
        assert!(!given.is_on("no-pivot") && !given.is_on("debug"));
        // What follows the id of `exec` is not ours.
        let given = Given::of("exec -t -e A=1 -e B=2 c1 ls --detach -l");
        assert_eq!(given.words, ["c1", "ls", "--detach", "-l"]);
        assert!(given.is_on("tty") && !given.is_on("detach"));
        assert_eq!(given.values("env").collect::<Vec<_>>(), ["A=1", "B=2"]);
        assert_eq!(Given::of("kill c1 -- -9").words, ["c1", "-9"]);
        assert_eq!(Given::of("list -f json").value("format"), Some("json"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, expect) in [
            ("create --nonsense c1", "flag provided but not defined: --nonsense"),
            ("create c1 --", ""),
            ("create - c1", ""),
            ("create --bundle", "flag needs a value: --bundle"),
            ("create --no-pivot=maybe", "invalid boolean value \"maybe\" for --no-pivot"),
            ("dance", "no such command: dance (hoist-runtime --help lists them)"),
            ("list --force", "flag provided but not defined: --force"),
        ] {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let said = Given::parse(&words).map(|_| ()).map_err(|error| error.to_string());
            assert_eq!(said.err().unwrap_or_default(), expect, "{line}");
        }
        assert!(matches!(Given::parse(&["--debug".to_owned()]), Ok(Parsed::Nothing)));
        assert!(matches!(Given::parse(&["--version".to_owned()]), Ok(Parsed::Version)));
        assert!(matches!(Given::parse(&["run", "-h"].map(str::to_owned)), Ok(Parsed::Usage(_))));
        assert!(Given::of("update c1 --pids-limit x").number::<i64>("pids-limit").is_err());
        assert!(Given::of("state c1 c2").id_and(0).is_err());
    }
}
