//! TLS: certificates from files or of our own making, read again when they change.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use registry::Registry;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::settings::Tls;
use crate::watched::Watched;

/// Where a certificate of our own is, below the registry's root. Clients get `ca.crt`.
pub(crate) const OWN: &str = "tls";

/// What new connections are encrypted with.
pub(crate) type Certificates = Watched<ServerConfig>;

/// Reads, or makes, the certificates that the settings name. `None`: no TLS.
pub(crate) fn certificates(tls: &Tls, registry: &Registry, hosts: &[String]) -> Result<Option<Certificates>, String> {
    let (certificate, key) = match tls {
        Tls::Off => return Ok(None),
        Tls::Files { certificate, key } => (certificate.clone(), key.clone()),
        Tls::SelfSigned => own(&registry.root().join(OWN), hosts)?,
    };
    let paths = vec![certificate.clone(), key.clone()];
    Watched::new(paths, move || read(&certificate, &key)).map(Some)
}

fn read(certificate: &Path, key: &Path) -> Result<ServerConfig, String> {
    let failed = |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| failed(certificate, &error))?;
    if chain.is_empty() {
        return Err(failed(certificate, &"there is no certificate in it"));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| failed(key, &error))?;
    let mut provider = rustls::crypto::ring::default_provider();
    // Layers are large, and most of what a transfer costs at both ends is encryption: the cheaper of the sound suites first,
    // as Go's servers have it.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() != CipherSuite::TLS13_AES_128_GCM_SHA256);
    let provider = Arc::new(provider);
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(|error| failed(certificate, &error))?;
    config.ignore_client_order = true;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The acceptor for a new connection.
pub(crate) fn acceptor(certificates: &Certificates) -> TlsAcceptor {
    TlsAcceptor::from(certificates.get())
}

/// A certificate of our own in `directory`, made if it is not there: one authority, which clients may trust, and a
/// certificate for `hosts` that it has signed.
fn own(directory: &Path, hosts: &[String]) -> Result<(PathBuf, PathBuf), String> {
    let (certificate, key) = (directory.join("server.crt"), directory.join("server.key"));
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    let failed = |error: rcgen::Error| format!("cannot make a certificate: {error}");
    let authority_key = rcgen::KeyPair::generate().map_err(failed)?;
    let mut authority = rcgen::CertificateParams::new(Vec::<String>::new()).map_err(failed)?;
    authority.distinguished_name.push(rcgen::DnType::CommonName, "hoist registry");
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    authority.key_usages = vec![rcgen::KeyUsagePurpose::KeyCertSign, rcgen::KeyUsagePurpose::CrlSign];
    let authority_pem = authority.self_signed(&authority_key).map_err(failed)?.pem();
    let issuer = rcgen::Issuer::new(authority, &authority_key);

    let server_key = rcgen::KeyPair::generate().map_err(failed)?;
    let mut server = rcgen::CertificateParams::new(hosts.to_vec()).map_err(failed)?;
    server.distinguished_name.push(rcgen::DnType::CommonName, hosts.first().map_or("localhost", String::as_str));
    server.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    server.use_authority_key_identifier_extension = true;
    let server_pem = server.signed_by(&server_key, &issuer).map_err(failed)?.pem();

    let write = |path: &Path, text: &str| {
        registry::write_file(path, text.as_bytes()).map_err(|error| crate::error::chain(&error))
    };
    // The certificate last: with it they are all there. The authority's key is not kept.
    write(&directory.join("ca.crt"), &authority_pem)?;
    write(&key, &server_key.serialize_pem())?;
    write(&certificate, &format!("{server_pem}{authority_pem}"))?;
    tracing::info!(path = %directory.join("ca.crt").display(), "made a certificate; clients trust it by this file");
    Ok((certificate, key))
}
