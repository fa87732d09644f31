//! Names that mean something else (OCI image-spec, `layer.md`, "Whiteouts").

use super::error::{LayerError, shown};

/// What a name says about the layers below.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Mark<'a> {
    None,
    /// Hides this name.
    Whiteout(&'a [u8]),
    /// Hides all that the directory has below.
    Opaque,
    /// Left over from AUFS: no file of the image.
    Skip,
}

/// What `path`, a member's, says by its name.
pub(super) fn whiteout(path: &[u8]) -> Result<Mark<'_>, LayerError> {
    const PREFIX: &[u8] = b".wh.";
    const META: &[u8] = b".wh..wh.";
    if !path.starts_with(PREFIX) && !path.windows(PREFIX.len() + 1).any(|window| window == b"/.wh.") {
        return Ok(Mark::None);
    }
    let mut components = path.split(|byte| *byte == b'/').peekable();
    while let Some(component) = components.next() {
        let Some(hidden) = component.strip_prefix(PREFIX) else { continue };
        if component == b".wh..wh..opq" && components.peek().is_none() {
            return Ok(Mark::Opaque);
        }
        if component.starts_with(META) {
            return Ok(Mark::Skip);
        }
        if components.peek().is_some() || matches!(hidden, b"" | b"." | b"..") {
            return Err(LayerError::Whiteout { path: shown(path) });
        }
        return Ok(Mark::Whiteout(hidden));
    }
    Ok(Mark::None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks() {
        let check = |path: &str, expect: Mark<'_>| assert_eq!(whiteout(path.as_bytes()).unwrap(), expect, "{path}");
        check("a", Mark::None);
        check("a/.whx", Mark::None);
        check("a.wh.b", Mark::None);
        check("a/.wh.b", Mark::Whiteout(b"b"));
        check(".wh.b", Mark::Whiteout(b"b"));
        check("a/.wh..wh..opq", Mark::Opaque);
        check("a/.wh..hidden", Mark::Whiteout(b".hidden"));
        check(".wh..wh.plnk/1.2", Mark::Skip);
        check(".wh..wh.aufs", Mark::Skip);
        for path in ["a/.wh.", "a/.wh..", "a/.wh...", ".wh.a/b"] {
            assert!(whiteout(path.as_bytes()).is_err(), "{path}");
        }
    }
}
