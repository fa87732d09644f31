//! From settings to a served API, and the end.

use crate::flags::Given;
use crate::settings::Settings;
use crate::{log, notify, pidfile, runtime};
use anyhow::Context;
use engine::Engine;
use http_api::{Address, Group, Listener, Tcp, Tls};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Threads that drive connections.
const WORKERS: usize = 2;

/// Requests that are worked on at the same time.
const MAX_BLOCKING: usize = 512;

/// How long a daemon that is told to end before it has begun waits for its beginning.
const OPENING_END: Duration = Duration::from_secs(5);

/// A blocking thread that has nothing to do ends after that.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Stack of these threads; touched pages count only.
const STACK: usize = 2 * 1024 * 1024;

/// Runs until SIGTERM or SIGINT. Containers go on. `given`: the flags, for SIGHUP.
pub fn run(settings: Settings, given: Given) -> anyhow::Result<()> {
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
    let result = runtime.block_on(serve(settings, given));
    // Threads that still wait for something end with the process.
    runtime.shutdown_background();
    result
}

async fn serve(mut settings: Settings, given: Given) -> anyhow::Result<()> {
    let end = Ending::new().context("watch for signals")?;
    settings.engine.runtime = runtime::find()?;
    let _pidfile = pidfile::Pidfile::write(&settings.pidfile)?;
    let tls = settings.tls.files().map(Tls::read).transpose()?;
    let listeners = open_listeners(&settings, tls.clone())?;
    let metrics = settings.metrics.as_deref().map(open_metrics).transpose()?;
    let places: Vec<String> = listeners.iter().map(Listener::describe).collect();
    let config = settings.engine;
    let mut opening = tokio::task::spawn_blocking(move || engine::Engine::open(config));
    let (reload, mut reloads) = tokio::sync::mpsc::channel::<()>(1);
    let mut end = std::pin::pin!(end.wait(reload));
    let engine = tokio::select! {
        opened = &mut opening => opened.context("open the engine")?,
        () = &mut end => {
            // So that it takes back what it has made.
            let _ = tokio::time::timeout(OPENING_END, opening).await;
            return Ok(());
        }
    };
    let engine = engine.map_err(|error| anyhow::anyhow!(error.full_text()))?;
    let reloaded = Arc::downgrade(&engine);
    tokio::spawn(async move {
        while reloads.recv().await.is_some() {
            let Some(engine) = reloaded.upgrade() else { return };
            let (given, tls) = (given.clone(), tls.clone());
            let done = tokio::task::spawn_blocking(move || again(&engine, given, tls.as_ref())).await;
            match done {
                Ok(Ok(())) => tracing::info!("SIGHUP: the configuration was read again"),
                Ok(Err(error)) => tracing::error!("SIGHUP: everything stays as it was: {error:#}"),
                Err(error) => tracing::error!("SIGHUP: {error}"),
            }
            notify::notify("READY=1");
        }
    });
    tracing::info!("hoistd {} answers on {}", env!("CARGO_PKG_VERSION"), places.join(", "));
    notify::notify(&format!("READY=1\nSTATUS=Answers on {}", places.join(", ")));
    notify::keep_alive(&engine);
    let served = http_api::serve(Arc::clone(&engine), listeners, metrics, end).await;
    notify::notify("STOPPING=1");
    let closed = tokio::task::spawn_blocking(move || engine.close()).await;
    served.context("serve the API")?;
    closed.context("close the engine")?;
    tracing::info!("hoistd ends; containers go on");
    Ok(())
}

/// Clients can connect from here on; they are answered once everything that ran is known again.
fn open_listeners(settings: &Settings, tls: Option<Tls>) -> anyhow::Result<Vec<Listener>> {
    let security = Tcp { tls, insist: settings.insecure_tcp };
    let group = settings.group.clone().map_or(Group::Default, Group::Named);
    let mut listeners = Vec::new();
    for host in &settings.hosts {
        let address = Address::parse(host)?;
        listeners.extend(http_api::open(&address, &group, &security)?);
    }
    Ok(listeners)
}

/// The port of the counts, which tell names of containers: for this machine, unless somebody says otherwise by an address.
fn open_metrics(address: &str) -> anyhow::Result<std::net::TcpListener> {
    std::net::TcpListener::bind(address).with_context(|| format!("listen on {address} for metrics"))
}

/// SIGHUP: reads flags and file again, and takes over what can change while the daemon runs.
fn again(engine: &Engine, given: Given, tls: Option<&Tls>) -> anyhow::Result<()> {
    let settings = Settings::read(given)?;
    if let Some(tls) = tls {
        tls.reload()?;
    }
    engine.reload(&settings.engine).map_err(|error| anyhow::anyhow!(error.full_text()))?;
    log::set_level(settings.log_level);
    Ok(())
}

/// The signals that concern the daemon.
struct Ending {
    terminate: Signal,
    interrupt: Signal,
    /// The configuration is read again.
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

    async fn wait(mut self, reload: tokio::sync::mpsc::Sender<()>) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    notify::reloading();
                    // One that waits already will see this change as well.
                    let _ = reload.try_send(());
                }
            }
        }
    }
}
