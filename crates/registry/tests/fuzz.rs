//! Mutated bytes for everything that comes from outside.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use registry::access::{Credentials, Defaults, Glob, Passwords, Rules, Scope};
use registry::range::{Wanted, parse_content_range, parse_range};
use registry::{Digest, Name, Parsed, Reference};

#[test]
fn names_digests_and_references() {
    let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let digest = format!("sha256:{hex}");
    let seeds: [&[u8]; 3] = [b"library/busy-box__x.y", digest.as_bytes(), b"v1.2.3"];
    fuzz::run(&seeds, &[b"..", b"/", b"%2e", b"\0", b"sha512:", b"+"], |input| {
        let text = String::from_utf8_lossy(input);
        if let Ok(name) = Name::parse(&text) {
            assert!(!name.as_str().contains("..") && !name.as_str().starts_with('/') && name.as_str().is_ascii());
        }
        if let Ok(digest) = Digest::parse(&text) {
            assert_eq!(digest.to_string(), text);
        }
        if let Ok(Reference::Tag(tag)) = Reference::parse(&text) {
            assert!(!tag.as_str().contains('/') && !tag.as_str().starts_with('.'));
        }
    });
}

#[test]
fn ranges() {
    let seeds: [&[u8]; 4] = [b"bytes=0-499", b"bytes=-5", b"0-99", b"bytes 5-9/100"];
    fuzz::run(&seeds, &[b"-", b"99999999999999999999999", b",", b"bytes=", b"18446744073709551615"], |input| {
        let text = String::from_utf8_lossy(input);
        for size in [0, 1, 100, u64::MAX] {
            if let Wanted::Part { first, last } = parse_range(&text, size) {
                assert!(first <= last && last < size);
            }
        }
        if let Some((first, last)) = parse_content_range(&text) {
            assert!(first <= last && last.checked_add(1).is_some());
        }
    });
}

#[test]
fn credentials_scopes_and_patterns() {
    let seeds: [&[u8]; 3] = [b"Basic YTpi", b"Bearer a.b.c", b"repository:a/b:pull,push registry:catalog:*"];
    fuzz::run(&seeds, &[b":", b" ", b"*", b"**", b"=", b"Basic "], |input| {
        let text = String::from_utf8_lossy(input);
        let _ = Credentials::parse(&text);
        assert!(Scope::parse_all(&text).len() <= 64);
        let short: String = text.chars().take(64).collect();
        let _ = Glob::new(&short).matches("team/project/image");
    });
}

#[test]
fn manifests() {
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let manifest = format!(
        r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"a/b","digest":"{digest}","size":2}},"layers":[{{"digest":"{digest}","size":0,"urls":["x"]}}],"subject":{{"digest":"{digest}","size":1}},"annotations":{{"a":"b"}}}}"#
    );
    let index = format!(r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"x","digest":"{digest}","size":1}}]}}"#);
    let seeds = [manifest.as_bytes(), index.as_bytes()];
    fuzz::run(&seeds, &[b"null", b"-1", b"[[[[[[", b"\"layers\"", b"\"manifests\":[],", b"1e999"], |input| {
        if let Ok(parsed) = Parsed::read(None, input) {
            assert!(parsed.content.len() <= 10_001);
        }
    });
}

#[test]
fn rules_and_password_files() {
    let rules = b"[groups]\ndev = [\"bob\"]\n[[access]]\nrepositories = [\"a/**\"]\nwho = [\"@dev\"]\nmay = [\"pull\"]\n[[cache]]\nprefix = \"docker.io\"\nupstream = \"docker.io\"\nfresh = \"10m\"\n";
    let users = b"alice:$2y$05$abcdefghijklmnopqrstuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu\nbob:$argon2id$v=19$m=64,t=1,p=1$MDEyMzQ1Njc4OWFiY2RlZg$AAAAAAAAAAAAAAAAAAAAAA\n";
    let seeds: [&[u8]; 2] = [rules, users];
    fuzz::run(&seeds, &[b"[[", b"]]", b"\"", b"m=4294967295", b"$2b$31$", b"\n"], |input| {
        let text = String::from_utf8_lossy(input);
        let lines = text.lines().count() + 1;
        if let Err((line, _)) = Rules::parse(&text, Defaults::default()) {
            assert!((1..=lines).contains(&line), "line {line} of {lines}");
        }
        let _ = Passwords::parse(&text);
    });
}
