//! Settings that change while the daemon runs.

use std::sync::{Arc, PoisonError};

use crate::{Config, Engine, Result, events};

/// What is read anew; everything else is as at the start.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) debug: bool,
    pub(crate) labels: Vec<String>,
    pub(crate) registry_mirrors: Vec<String>,
    pub(crate) insecure_registries: Vec<String>,
    pub(crate) registry: distribution::Registry,
}

impl Live {
    pub(crate) fn new(config: &Config) -> Result<Live> {
        Ok(Live {
            debug: config.debug,
            labels: config.labels.clone(),
            registry_mirrors: config.registry_mirrors.clone(),
            insecure_registries: config.insecure_registries.clone(),
            registry: crate::image::registry(config)?,
        })
    }
}

impl Engine {
    /// What holds now. Whoever has it goes on with it, whatever changes meanwhile.
    pub(crate) fn live(&self) -> Arc<Live> {
        Arc::clone(&self.live.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes over the settings that can change: `debug`, `labels`, mirrors, insecure registries, and the numbers of
    /// transfers and attempts. What is under way goes on as it began.
    ///
    /// # Errors
    /// A setting that the registry client refuses; then nothing has changed.
    pub fn reload(&self, config: &Config) -> Result<()> {
        let live = Arc::new(Live::new(config)?);
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = live;
        let list = |all: &[String]| serde_json::to_string(all).unwrap_or_default();
        let attributes = [
            ("debug", config.debug.to_string()),
            ("insecure-registries", list(&config.insecure_registries)),
            ("labels", list(&config.labels)),
            ("live-restore", "true".to_owned()),
            ("max-concurrent-downloads", config.max_concurrent_downloads.to_string()),
            ("max-concurrent-uploads", config.max_concurrent_uploads.to_string()),
            ("max-download-attempts", config.max_download_attempts.to_string()),
            ("name", self.host.hostname.clone()),
            ("registry-mirrors", list(&config.registry_mirrors)),
        ];
        let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        self.events.publish(events::Of::Daemon, "reload", &self.machine_id, attributes);
        Ok(())
    }
}
