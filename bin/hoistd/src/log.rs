//! The daemon's own log: to standard error, at a level that can change, and in the journal's own form where standard
//! error is the journal.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::reload::Handle;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

static LEVEL: OnceLock<Handle<LevelFilter, Registry>> = OnceLock::new();

/// Starts it; once.
pub fn start(level: Level, json: bool) {
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    let registry = tracing_subscriber::registry().with(filter);
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    match (json, is_journal()) {
        (true, _) => registry.with(layer.json()).init(),
        (false, true) => registry.with(layer.event_format(Journal)).init(),
        (false, false) => registry.with(layer).init(),
    }
    // Only one start: nothing is there yet.
    let _ = LEVEL.set(handle);
}

/// Another level from here on.
pub fn set_level(level: Level) {
    if let Some(handle) = LEVEL.get()
        && let Err(error) = handle.modify(|filter| *filter = LevelFilter::from_level(level))
    {
        tracing::warn!("change the log level: {error}");
    }
}

/// systemd.exec(5): `JOURNAL_STREAM` has device and inode of the stream that goes to the journal.
fn is_journal() -> bool {
    let Ok(told) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(own) = std::fs::metadata("/proc/self/fd/2") else { return false };
    told == format!("{}:{}", own.dev(), own.ino())
}

/// A line for the journal, sd-daemon(3): the level as a number in front, no time of our own.
struct Journal;

impl<S, N> FormatEvent<S, N> for Journal
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = String::new();
        ctx.field_format().format_fields(Writer::new(&mut text), event)?;
        let priority = priority(*event.metadata().level());
        for line in text.lines() {
            writeln!(out, "<{priority}>{line}")?;
        }
        Ok(())
    }
}

/// syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::fmt::MakeWriter;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Kept;
        fn make_writer(&'a self) -> Kept {
            self.clone()
        }
    }

    #[test]
    fn lines_of_the_journal() {
        let kept = Kept::default();
        let layer = tracing_subscriber::fmt::layer().with_writer(kept.clone()).event_format(Journal);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::info!("one\ntwo");
            tracing::error!(number = 3, "bad");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text, "<6>one\n<6>two\n<3>bad number=3\n");
    }
}
