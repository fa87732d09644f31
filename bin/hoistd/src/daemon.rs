//! From settings to a served API, and the end.

use crate::settings::Settings;
use crate::{notify, pidfile, runtime};
use anyhow::Context;
use http_api::{Address, Group, Listener};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Threads that drive connections.
const WORKERS: usize = 2;

/// Requests that are worked on at the same time.
const MAX_BLOCKING: usize = 512;

/// A blocking thread that has nothing to do ends after that.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Stack of these threads; touched pages count only.
const STACK: usize = 2 * 1024 * 1024;

/// Runs until SIGTERM or SIGINT. Containers go on.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    // Whatever the mask of the one who starts it: modes of files are set by name.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(MAX_BLOCKING)
        .thread_keep_alive(KEEP_ALIVE)
        .thread_stack_size(STACK)
        .thread_name("hoistd-io")
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let result = runtime.block_on(serve(settings));
    // Threads that still wait for something end with the process.
    runtime.shutdown_background();
    result
}

async fn serve(mut settings: Settings) -> anyhow::Result<()> {
    let end = Ending::new().context("watch for signals")?;
    settings.engine.runtime = runtime::find()?;
    let _pidfile = pidfile::Pidfile::write(&settings.pidfile)?;
    let listeners = open_listeners(&settings)?;
    let places: Vec<String> = listeners.iter().map(Listener::describe).collect();
    let config = settings.engine;
    let opening = tokio::task::spawn_blocking(move || engine::Engine::open(config));
    let mut end = std::pin::pin!(end.wait());
    let engine = tokio::select! {
        opened = opening => opened.context("open the engine")?,
        () = &mut end => return Ok(()),
    };
    let engine = engine.map_err(|error| anyhow::anyhow!(error.full_text()))?;
    tracing::info!("hoistd {} answers on {}", env!("CARGO_PKG_VERSION"), places.join(", "));
    notify::notify(&format!("READY=1\nSTATUS=Answers on {}", places.join(", ")));
    notify::keep_alive(&engine);
    http_api::serve(engine, listeners, end).await.context("serve the API")?;
    notify::notify("STOPPING=1");
    tracing::info!("hoistd ends; containers go on");
    Ok(())
}

/// Clients can connect from here on; they are answered once everything that ran is known again.
fn open_listeners(settings: &Settings) -> anyhow::Result<Vec<Listener>> {
    let group = settings.group.clone().map_or(Group::Default, Group::Named);
    let mut listeners = Vec::new();
    for host in &settings.hosts {
        let address = Address::parse(host)?;
        listeners.extend(http_api::open(&address, &group)?);
    }
    Ok(listeners)
}

/// The signals that concern the daemon.
struct Ending {
    terminate: Signal,
    interrupt: Signal,
    /// Caught, so that it does not end the daemon: there is nothing to read again yet. (Ignored, the containers would
    /// inherit it.)
    hangup: Signal,
}

impl Ending {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn wait(mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => tracing::info!("SIGHUP: the configuration is read at the start only"),
            }
        }
    }
}
