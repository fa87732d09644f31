//! Several images under one name: those that one index brought, each for its platform.

use oci::Platform;
use store::ImageRecord;

use crate::{Engine, Error, Result};

/// A platform as the newer routes take it: a JSON document; nothing when the text is empty.
pub fn parse_platform(text: &str) -> Result<Option<Platform>> {
    if text.is_empty() {
        return Ok(None);
    }
    let platform: Platform =
        serde_json::from_str(text).map_err(|error| Error::invalid(format!("failed to parse platform: {error}")))?;
    if platform.os.is_empty() || platform.architecture.is_empty() {
        return Err(Error::invalid("failed to parse platform: both OS and Architecture must be provided"));
    }
    Ok(Some(platform.normalized()))
}

/// In the words of the API.
pub(super) fn wire(platform: Platform) -> api::image::Platform {
    api::image::Platform {
        architecture: platform.architecture,
        os: platform.os,
        os_version: platform.os_version,
        os_features: platform.os_features.into(),
        variant: platform.variant,
    }
}

/// Platform of an image; what it does not say is the host's.
pub(super) fn of_image(image: &ImageRecord) -> Platform {
    let own = image.config.platform();
    let host = Platform::host();
    Platform {
        os: if own.os.is_empty() { host.os } else { own.os },
        architecture: if own.architecture.is_empty() { host.architecture } else { own.architecture },
        ..own
    }
}

/// The image itself and all that came by the same index.
pub(super) fn siblings(engine: &Engine, image: &ImageRecord) -> Result<Vec<ImageRecord>> {
    let all = engine.store.images().list().map_err(|error| Error::system("read the images", error))?;
    let related = |other: &ImageRecord| {
        other.id != image.id && other.repo_digests.iter().any(|name| image.repo_digests.contains(name))
    };
    let mut found = vec![image.clone()];
    found.extend(all.into_iter().filter(related));
    Ok(found)
}

/// The image that `text` means for a platform: `image`, which the name stands for, or one that came by the same index.
///
/// # Errors
/// Docker's text when there is none.
pub(super) fn of(engine: &Engine, image: ImageRecord, text: &str, wanted: &Platform) -> Result<ImageRecord> {
    let exact = |image: &ImageRecord| wanted.rank(&of_image(image)) == Some(0);
    if exact(&image) {
        return Ok(image);
    }
    siblings(engine, &image)?.into_iter().find(exact).ok_or_else(|| {
        Error::not_found(format!(
            "image with reference {text} was found but does not provide the specified platform ({wanted})"
        ))
    })
}
