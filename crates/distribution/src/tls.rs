//! Whom to trust: the system's authorities, those in certs.d, and the client certificates there.
//!
//! ```text
//! <certs.d>/<host[:port]>/ca.crt          an authority for this registry
//!                         client.cert     a certificate to show …
//!                         client.key      … and its key
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use ureq::tls::{Certificate, ClientCert, PemItem, PrivateKey, RootCerts, TlsConfig, parse_pem};

use crate::hosts::Options;
use crate::{Error, Result};

/// Where distributions keep the authorities, most common first.
const SYSTEM_BUNDLES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Largest file read from certs.d or the system, in bytes.
const FILE_LIMIT: u64 = 8 << 20;

/// The process's crypto: ring, installed once; whoever was first stays.
fn provider() -> Arc<CryptoProvider> {
    if CryptoProvider::get_default().is_none() {
        // A failure means that another thread was faster, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(rustls::crypto::ring::default_provider()))
}

/// TLS settings for one host; without `verify` any certificate will do.
pub(crate) fn settings(
    authority: &str,
    verify: bool,
    certs_dirs: &[PathBuf],
    options: Option<&Options>,
) -> Result<TlsConfig> {
    let mut own = Own::default();
    if !authority.starts_with('.') && !authority.contains('/') {
        for dir in certs_dirs {
            own.read(&dir.join(authority))?;
        }
    }
    for path in options.iter().flat_map(|options| &options.authorities) {
        own.authorities.append(&mut certificates(&read(path)?));
    }
    if let Some((certificate, key)) = options.and_then(|options| options.client.as_ref()) {
        own.client = Some(client_pair(certificate, key)?);
    }
    let mut builder = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(provider())
        .disable_verification(!verify)
        .client_cert(own.client);
    if verify {
        builder = builder.root_certs(match system_authorities() {
            Some(mut authorities) => {
                authorities.append(&mut own.authorities);
                RootCerts::Specific(Arc::new(authorities))
            }
            None if own.authorities.is_empty() => RootCerts::WebPki,
            None => RootCerts::Specific(Arc::new(own.authorities)),
        });
    }
    Ok(builder.build())
}

/// The system's bundle; `None` when there is none.
fn system_authorities() -> Option<Vec<Certificate<'static>>> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(SYSTEM_BUNDLES.iter().map(PathBuf::from)).find_map(|path| {
        let certificates = certificates(&read(&path).ok()?);
        (!certificates.is_empty()).then_some(certificates)
    })
}

/// What certs.d has for one host.
#[derive(Default)]
struct Own {
    authorities: Vec<Certificate<'static>>,
    client: Option<ClientCert>,
}

impl Own {
    fn read(&mut self, dir: &Path) -> Result<()> {
        let Ok(entries) = fs::read_dir(dir) else { return Ok(()) };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let extension = path.extension().and_then(|extension| extension.to_str());
            match extension {
                Some("crt") => self.authorities.append(&mut certificates(&read(&path)?)),
                Some("cert") => {
                    let client = client_certificate(&path)?;
                    self.client.get_or_insert(client);
                }
                Some("key") if !path.with_extension("cert").exists() => {
                    return Err(invalid(&path, "missing client certificate (.cert) for this key"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn client_certificate(path: &Path) -> Result<ClientCert> {
    let key_path = path.with_extension("key");
    if !key_path.exists() {
        return Err(invalid(path, "missing its key (.key); certificates of authorities must use the extension .crt"));
    }
    client_pair(path, &key_path)
}

fn client_pair(path: &Path, key_path: &Path) -> Result<ClientCert> {
    let chain = certificates(&read(path)?);
    if chain.is_empty() {
        return Err(invalid(path, "no certificate in this file"));
    }
    let key = PrivateKey::from_pem(&read(key_path)?).map_err(|error| invalid(key_path, &error.to_string()))?;
    check_pair(&chain, &key).map_err(|error| invalid(key_path, &error))?;
    Ok(ClientCert::new_with_certs(&chain, key))
}

/// Would rustls take this pair? The HTTP client asserts that it does.
fn check_pair(chain: &[Certificate<'static>], key: &PrivateKey<'_>) -> Result<(), String> {
    let chain: Vec<CertificateDer<'static>> =
        chain.iter().map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
    let key = PrivateKeyDer::try_from(key.der().to_vec()).map_err(str::to_owned)?;
    rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_client_auth_cert(chain, key)
        .map(|_| ())
        .map_err(|error| error.to_string())
}

/// All certificates of a PEM file; other items are passed over.
fn certificates(pem: &[u8]) -> Vec<Certificate<'static>> {
    parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(|error| invalid(path, &error.to_string()))?;
    file.take(FILE_LIMIT).read_to_end(&mut bytes).map_err(|error| invalid(path, &error.to_string()))?;
    Ok(bytes)
}

fn invalid(path: &Path, detail: &str) -> Error {
    Error::Certificate { path: path.display().to_string(), detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certs_d_is_checked() {
        let root = std::env::temp_dir().join(format!("hoist-certs-{}", std::process::id()));
        let dir = root.join("host:5000");
        fs::create_dir_all(&dir).unwrap();
        assert!(settings("host:5000", true, std::slice::from_ref(&root), None).is_ok());
        fs::write(dir.join("client.cert"), "no certificate").unwrap();
        assert!(matches!(
            settings("host:5000", true, std::slice::from_ref(&root), None),
            Err(Error::Certificate { .. })
        ));
        assert!(settings("other", true, std::slice::from_ref(&root), None).is_ok());
        fs::remove_file(dir.join("client.cert")).unwrap();
        fs::write(dir.join("client.key"), "no key").unwrap();
        assert!(matches!(
            settings("host:5000", false, std::slice::from_ref(&root), None),
            Err(Error::Certificate { .. })
        ));
        fs::remove_dir_all(&root).unwrap();
    }
}
