//! `registry serve`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use registry::access::CacheRule;
use registry_api::{AuthMode, LogFormat, Server, Settings, Tls};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::given::Given;
use crate::notify;

/// Stack of threads that wait for the disk.
const STACK: usize = 512 * 1024;
/// Requests that wait for the disk at the same time.
const MAX_BLOCKING: usize = 64;
/// A thread that has nothing to do ends after that.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

pub fn run(given: Given) -> Result<()> {
    let (settings, format, level) = read(given)?;
    start_log(format, level);
    raise_descriptors();
    // Uploads write to the page cache from these threads, and may wait there for the disk.
    let workers = std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8) * 2;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(MAX_BLOCKING)
        .thread_keep_alive(KEEP_ALIVE)
        .thread_stack_size(STACK)
        .thread_name("registry-io")
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let result = runtime.block_on(serve(settings));
    runtime.shutdown_background();
    result
}

/// Each client has a descriptor or two; what systems begin with is 1,024 in all.
fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

async fn serve(settings: Settings) -> Result<()> {
    let mut terminated = signal(SignalKind::terminate()).context("watch for signals")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("watch for signals")?;
    let scheme = if settings.tls == Tls::Off { "http" } else { "https" };
    let root = settings.root.display().to_string();
    let server = Server::open(settings).await?;
    let address = server.address()?;
    tracing::info!("the registry in {root} answers on {scheme}://{address}");
    notify::notify("READY=1");
    server
        .serve(async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            notify::notify("STOPPING=1");
        })
        .await;
    tracing::info!("the registry ends");
    Ok(())
}

/// Settings, form and level of the log.
fn read(mut given: Given) -> Result<(Settings, LogFormat, tracing::Level)> {
    let root = given.text("root").map_or_else(default_root, |root| Ok(PathBuf::from(root)))?;
    let mut settings = Settings::new(std::path::absolute(&root).with_context(|| root.display().to_string())?);
    if let Some(address) = given.text("addr") {
        settings.address = if address.starts_with(':') { format!("0.0.0.0{address}") } else { address };
    }
    settings.tls = match (given.switch("tls-self-signed")?, given.text("tls-cert"), given.text("tls-key")) {
        (false, None, None) => Tls::Off,
        (true, None, None) => Tls::SelfSigned,
        (false, Some(certificate), Some(key)) => Tls::Files { certificate: certificate.into(), key: key.into() },
        (true, ..) => bail!("--tls-self-signed makes its own certificate: it goes without --tls-cert and --tls-key"),
        _ => bail!("--tls-cert and --tls-key belong together"),
    };
    settings.auth = match given.text("auth").as_deref() {
        None | Some("token") => AuthMode::Token,
        Some("basic") => AuthMode::Basic,
        Some(other) => bail!("--auth is token or basic, not {other:?}"),
    };
    settings.passwords = given.text("htpasswd").map(PathBuf::from);
    settings.rules = given.text("rules").map(PathBuf::from);
    settings.caches = given.all("cache").iter().map(|text| cache(text)).collect::<Result<_>>()?;
    settings.anonymous_pull = given.switch("anonymous-pull")?;
    settings.anonymous_push = given.switch("allow-anonymous-push")?;
    settings.read_only = given.switch("read-only")?;
    settings.sparse_indexes = given.switch("allow-sparse-indexes")?;
    settings.external_url = given.text("external-url");
    if let Some(url) = &settings.external_url
        && !(url.starts_with("http://") || url.starts_with("https://"))
    {
        bail!("--external-url begins with http:// or https://");
    }
    let engine_root = given.text("engine-root");
    if given.switch("from-engine")? {
        let engine = PathBuf::from(engine_root.unwrap_or_else(|| "/var/lib/hoist".to_owned()));
        if !engine.join("meta.db").is_file() {
            bail!("there is no engine's store in {} (--engine-root)", engine.display());
        }
        settings.engine = Some(engine);
    } else if engine_root.is_some() {
        bail!("--engine-root is for --from-engine");
    }
    settings.max_blob = given.number("max-blob-size")?.unwrap_or(0);
    if let Some(count) = given.number("max-connections")? {
        settings.max_connections =
            usize::try_from(count).ok().filter(|count| *count > 0).context("--max-connections")?;
    }
    settings.gc_every = given.duration("gc-every")?.unwrap_or_default();
    settings.gc_untagged = given.switch("gc-untagged")?;
    let format = match given.text("log-format").as_deref() {
        None | Some("text") => LogFormat::Text,
        Some("json") => LogFormat::Json,
        Some(other) => bail!("--log-format is text or json, not {other:?}"),
    };
    let level = given.text("log-level").map_or(Ok(tracing::Level::INFO), |text| {
        text.parse().with_context(|| format!("invalid logging level: {text}"))
    })?;
    settings.access_log = level >= tracing::Level::INFO;
    given.done()?;
    if let Some(argument) = given.arguments.first() {
        bail!("unexpected argument {argument:?}");
    }
    Ok((settings, format, level))
}

/// `PREFIX=HOST`
fn cache(text: &str) -> Result<CacheRule> {
    let (prefix, upstream) = text.split_once('=').with_context(|| format!("--cache is PREFIX=HOST, not {text:?}"))?;
    let rule = format!("[[cache]]\nprefix = {prefix:?}\nupstream = {upstream:?}\n");
    let rules = registry::access::Rules::parse(&rule, registry::access::Defaults::default());
    let rules = rules.map_err(|(_, detail)| anyhow::anyhow!("--cache {text}: {detail}"))?;
    rules.caches().first().cloned().context("--cache")
}

fn default_root() -> Result<PathBuf> {
    if rustix::process::geteuid().is_root() {
        return Ok("/var/lib/hoist-registry".into());
    }
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let data = data.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    Ok(data.context("there is no HOME: say --root")?.join("hoist/registry"))
}

/// To standard error: `key=value`, or a JSON object in each line.
fn start_log(format: LogFormat, level: tracing::Level) {
    let builder = tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(level).with_ansi(false);
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
