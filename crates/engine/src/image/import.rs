//! `POST /images/create?fromSrc=`: a root file system's tar becomes an image of one layer.

use std::io::Read;

use api::image::Progress;
use oci::ImageConfig;

use super::pull::Cancel;
use super::{change, names_changed, publish, target};
use crate::{Engine, Error, Kind, Result, time};

/// What becomes of the tar.
#[derive(Clone, Debug, Default)]
pub struct ImportRequest {
    /// Name of the image; empty for none.
    pub repository: String,
    pub tag: String,
    pub message: String,
    /// Dockerfile instructions.
    pub changes: Vec<String>,
    pub platform: Option<String>,
}

impl ImportRequest {
    /// The name, and the configuration with platform and changes.
    fn check(&self) -> Result<(Option<oci::Reference>, ImageConfig)> {
        let reference = if self.repository.is_empty() { None } else { Some(target(&self.repository, &self.tag)?) };
        let mut config = ImageConfig::default();
        if let Some(text) = self.platform.as_deref().filter(|text| !text.is_empty()) {
            let platform = oci::Platform::parse(text).map_err(|error| Error::invalid(error.to_string()))?;
            (config.os, config.architecture, config.variant) = (platform.os, platform.architecture, platform.variant);
        }
        let lines = self.changes.iter().flat_map(|change| change.lines()).filter(|line| !line.trim().is_empty());
        for instruction in lines {
            change::apply(&mut config.config, instruction)?;
        }
        Ok((reference, config))
    }
}

/// Where the tar comes from.
pub enum ImportSource<'a> {
    /// The request's body.
    Body(&'a mut dyn Read),
    /// An address; without a scheme it is an http one.
    Address(String),
}

/// Imports a tar from wherever it is. The last message is the image's id.
pub fn import(
    engine: &Engine,
    request: ImportRequest,
    source: ImportSource<'_>,
    cancel: &Cancel,
    emit: &mut dyn FnMut(Progress),
) -> Result<()> {
    match source {
        ImportSource::Body(tar) => import_tar(engine, request, tar, emit),
        ImportSource::Address(text) => {
            let address = if text.contains("://") { text } else { format!("http://{text}") };
            // What is wrong with the request is said before anything is fetched.
            request.check()?;
            emit(Progress::status(format!("Downloading from {address}")));
            let mut tar =
                distribution::download(&engine.live().registry, &address, &cancel.0).map_err(super::pull::translate)?;
            let mut request = request;
            if request.message.is_empty() {
                request.message = format!("Imported from {address}");
            }
            import_tar(engine, request, &mut tar, emit)
        }
    }
}

/// A file from the web: an http or https address, asked for without credentials.
pub fn fetch(engine: &Engine, address: &str, cancel: &Cancel) -> Result<impl Read + Send + use<>> {
    distribution::download(&engine.live().registry, address, &cancel.0).map_err(super::pull::translate)
}

/// Imports a tar. The last message is the image's id.
fn import_tar(
    engine: &Engine,
    request: ImportRequest,
    tar: &mut dyn Read,
    emit: &mut dyn FnMut(Progress),
) -> Result<()> {
    let (reference, changed) = request.check()?;
    let mut config = ImageConfig {
        created: Some(time::rfc3339(logs::time::now_ns())),
        comment: if request.message.is_empty() { "Imported from -".to_owned() } else { request.message },
        ..ImageConfig::default()
    };
    (config.os, config.architecture, config.variant) = (changed.os, changed.architecture, changed.variant);
    config.config = changed.config;
    let image = engine.store.import(tar, config).map_err(translate)?;
    if let Some(reference) = &reference {
        engine.store.images().tag(reference, &image.id).map_err(|error| Error::system("tag the image", error))?;
    }
    names_changed(engine);
    let id = image.id.to_string();
    let name = reference.map_or_else(|| id.clone(), |reference| reference.familiar());
    publish(engine, "import", &id, &name, Some(&image));
    emit(Progress::status(id));
    Ok(())
}

/// A broken archive is the client's fault.
pub(super) fn translate(error: store::Error) -> Error {
    let kind = match &error {
        store::Error::Archive { .. } | store::Error::Source(_) | store::Error::Layer { .. } => Kind::InvalidParameter,
        _ => Kind::System,
    };
    Error::system("read the archive", error).with_kind(kind)
}
