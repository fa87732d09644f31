//! `hoist/hello`: an image that is built into the daemon, so that the first container needs no registry and no network.

use archive::tar::{Kind, Metadata, Writer};
use oci::image::{ContainerConfig, History};
use oci::{ImageConfig, Reference};
use store::ImageRecord;

use super::names_changed;
use crate::{Engine, Error, Result};

const NAME: &str = "hoist/hello:latest";

/// The program, assembled from `hello/hello.s`, which says how.
#[cfg(target_arch = "x86_64")]
const PROGRAM: Option<&[u8]> = Some(include_bytes!("../../hello/hello.x86_64"));
#[cfg(not(target_arch = "x86_64"))]
const PROGRAM: Option<&[u8]> = None;

/// Whether a text that no image has means this one.
pub(super) fn is_meant(text: &str) -> bool {
    Reference::parse(text).is_ok_and(|reference| reference.with_default_tag().familiar() == NAME)
}

/// Puts the image into the store.
pub(super) fn provide(engine: &Engine) -> Result<ImageRecord> {
    let program =
        PROGRAM.ok_or_else(|| Error::not_found("No such image: hoist/hello:latest is built in on x86-64 only"))?;
    let tar = tar(program).map_err(|error| Error::system("pack the image hoist/hello", error))?;
    let _lease = engine.store.lease();
    let image =
        engine.store.import(tar.as_slice(), config()).map_err(|error| Error::system("store hoist/hello", error))?;
    let reference = Reference::parse(NAME).map_err(|error| Error::invalid(error.to_string()))?;
    engine.store.images().tag(&reference, &image.id).map_err(|error| Error::system("tag hoist/hello", error))?;
    names_changed(engine);
    super::publish(engine, "import", &image.id.to_string(), NAME, Some(&image));
    Ok(image)
}

fn tar(program: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut writer = Writer::new(Vec::new());
    let metadata = Metadata { mode: 0o755, size: program.len() as u64, ..Metadata::new("hello", Kind::File) };
    writer.append(&metadata, program)?;
    writer.finish()
}

/// The same bytes on every machine, so the same id.
fn config() -> ImageConfig {
    let created = Some("2026-01-01T00:00:00Z".to_owned());
    ImageConfig {
        architecture: "amd64".to_owned(),
        os: "linux".to_owned(),
        created: created.clone(),
        config: ContainerConfig {
            env: Some(vec!["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()]),
            cmd: Some(vec!["/hello".to_owned()]),
            working_dir: "/".to_owned(),
            ..ContainerConfig::default()
        },
        history: vec![History { created, comment: "built into hoistd".to_owned(), ..History::default() }],
        ..ImageConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant() {
        for (text, expected) in [
            ("hoist/hello", true),
            ("hoist/hello:latest", true),
            ("docker.io/hoist/hello", true),
            ("hoist/hello:2", false),
            ("hello", false),
        ] {
            assert_eq!(is_meant(text), expected, "{text}");
        }
    }

    #[test]
    fn the_program_is_an_elf_file() {
        if let Some(program) = PROGRAM {
            assert_eq!(&program[..4], b"\x7fELF");
            assert!(tar(program).unwrap().len() > program.len());
        }
    }
}
