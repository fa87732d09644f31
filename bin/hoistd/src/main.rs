//! `hoistd`: the daemon. Reads its flags and `daemon.json`, looks whether the machine can carry it, opens the engine, and
//! serves the Engine API until SIGTERM or SIGINT; containers go on without it.

mod daemon;
mod file;
mod flags;
mod log;
mod notify;
mod options;
mod pidfile;
mod preflight;
mod registry;
mod runtime;
mod settings;
mod stop_containers;
mod unsupported;

use settings::Settings;
use std::process::ExitCode;

fn main() -> ExitCode {
    sys::names::without_modules();
    let arguments: Vec<String> = match std::env::args_os().skip(1).map(std::ffi::OsString::into_string).collect() {
        Ok(arguments) => arguments,
        Err(argument) => {
            eprintln!("hoistd: the argument {argument:?} is not UTF-8");
            return ExitCode::from(125);
        }
    };
    if let [first, rest @ ..] = arguments.as_slice()
        && first == "registry"
    {
        return registry::run(rest);
    }
    if let [first, rest @ ..] = arguments.as_slice()
        && first == "stop-containers"
    {
        return stop_containers::run(rest);
    }
    let given = match flags::parse(&arguments) {
        Ok(flags::Parsed::Run(given)) => given,
        Ok(flags::Parsed::Help) => {
            print!("{}", options::help());
            return ExitCode::SUCCESS;
        }
        Ok(flags::Parsed::Version) => {
            println!("hoistd version {}, build {}", env!("CARGO_PKG_VERSION"), commit());
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\nSee 'hoistd --help'.");
            return ExitCode::from(125);
        }
    };
    match run(given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hoistd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(given: flags::Given) -> anyhow::Result<()> {
    let again = given.clone();
    let settings = Settings::read(given)?;
    if settings.validate {
        eprintln!("configuration OK");
        return Ok(());
    }
    log::start(settings.log_level, settings.log_json);
    preflight::check()?;
    daemon::run(settings, again)
}

/// What this program was built from.
fn commit() -> &'static str {
    option_env!("HOIST_GIT_COMMIT").unwrap_or("unknown")
}
