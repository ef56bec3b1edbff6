//! The TLS settings of a location, made into a `rustls` configuration while the configuration is
//! read: the process may still be root then, and holds no threads or sockets afterwards.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, InconsistentKeys, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use thiserror::Error;
use x509_cert::Certificate;
use x509_cert::der::{Decode, Encode};
use zeroize::{Zeroize, Zeroizing};

use super::verify::{Pinned, Verifier};

/// What `phantom_token_ssl_*` say. Files are given as their PEM content.
pub struct TlsOptions {
    /// Whether the server's certificate is verified.
    pub verify: bool,
    /// The certificates to trust; the system's where there are none.
    pub trusted: Option<Vec<u8>>,
    /// The client's certificate, then its issuers, for mutual TLS.
    pub client_cert: Option<Vec<u8>>,
    /// The client certificate's private key, not encrypted.
    pub client_key: Option<Zeroizing<Vec<u8>>>,
}

impl Default for TlsOptions {
    /// Verify, against the system's certificates, and present none.
    fn default() -> Self {
        TlsOptions { verify: true, trusted: None, client_cert: None, client_key: None }
    }
}

/// Why TLS cannot be set up as configured. The messages say which file and what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TlsConfigError {
    /// The system has no certificate store that could be found.
    #[error(
        "the system has no CA certificates: install them (ca-certificates) or name a file \
         of trusted certificates"
    )]
    NoSystemCertificates,
    /// The trusted file has no certificate in it.
    #[error("the file of trusted certificates holds no PEM certificate")]
    NoTrustedCertificate,
    /// The trusted file is not PEM, or what it holds are not certificates.
    #[error("the file of trusted certificates is damaged: it must hold X.509 certificates as PEM")]
    BadTrustedCertificate,
    /// The client certificate file has no certificate in it.
    #[error("the client certificate file holds no PEM certificate")]
    NoClientCertificate,
    /// The client certificate file is not PEM, or what it holds is not a certificate.
    #[error("the client certificate file is damaged: it must hold X.509 certificates as PEM")]
    BadClientCertificate,
    /// The key file has no private key in it.
    #[error("the client certificate's key file holds no PEM private key")]
    NoClientKey,
    /// The key file is not PEM.
    #[error("the client certificate's key file is damaged: it must hold a PEM private key")]
    BadClientKey,
    /// The key asks for a pass phrase.
    #[error(
        "the client certificate's key is encrypted: decrypt it first, for example with \
         \"openssl pkey -in KEY -out PLAIN_KEY\""
    )]
    EncryptedClientKey,
    /// A key of a kind or size that is not supported.
    #[error(
        "the client certificate's key is not supported: use RSA (2048 bits or more), \
         ECDSA P-256 or P-384, or Ed25519"
    )]
    UnsupportedClientKey,
    /// Certificate and key are not a pair.
    #[error("the client certificate and its key do not belong together")]
    KeyMismatch,
    /// A certificate without a key.
    #[error("a client certificate needs its key as well")]
    KeyMissing,
    /// A key without a certificate.
    #[error("a client certificate's key needs the certificate as well")]
    CertificateMissing,
    /// `rustls` refused the settings for another reason.
    #[error("TLS cannot be set up")]
    Refused,
}

/// One of the files of [`TlsOptions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsFile {
    /// The certificates to trust.
    Trusted,
    /// The client's certificate.
    ClientCertificate,
    /// Its private key.
    ClientKey,
}

impl TlsConfigError {
    /// Returns the files to look at for this error.
    pub fn files(self) -> &'static [TlsFile] {
        use TlsFile::{ClientCertificate, ClientKey, Trusted};
        match self {
            Self::NoTrustedCertificate | Self::BadTrustedCertificate => &[Trusted],
            Self::NoClientCertificate | Self::BadClientCertificate => &[ClientCertificate],
            Self::NoClientKey
            | Self::BadClientKey
            | Self::EncryptedClientKey
            | Self::UnsupportedClientKey => &[ClientKey],
            Self::KeyMismatch => &[ClientCertificate, ClientKey],
            Self::NoSystemCertificates
            | Self::KeyMissing
            | Self::CertificateMissing
            | Self::Refused => &[],
        }
    }
}

/// TLS settings, ready for use. A clone is cheap and means the same settings: connections and
/// TLS sessions made with one are reused with the other, never with another `Tls`.
#[derive(Clone)]
pub struct Tls {
    id: u64,
    config: Arc<ClientConfig>,
}

impl Tls {
    /// Reads certificates and keys. Starts no thread, opens no socket; reads the system's
    /// certificate files where `trusted` is `None` and the server is to be verified.
    ///
    /// # Errors
    /// What is wrong with which file.
    pub fn new(options: TlsOptions) -> Result<Tls, TlsConfigError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = verifier(&options, &provider)?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| TlsConfigError::Refused)?
            .dangerous()
            .with_custom_certificate_verifier(verifier);
        let mut config = match (&options.client_cert, &options.client_key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(_), None) => return Err(TlsConfigError::KeyMissing),
            (None, Some(_)) => return Err(TlsConfigError::CertificateMissing),
            (Some(certificate), Some(key)) => {
                let identity = client_identity(certificate, key)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity)))
            }
        };
        // A server that also speaks HTTP/2 must not choose it.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];

        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Tls { id, config: Arc::new(config) })
    }

    /// The same settings without a protocol named in the handshake (RFC 7301): for what is not HTTP.
    pub(crate) fn without_protocols(&self) -> Tls {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols.clear();
        Tls { id: self.id, config: Arc::new(config) }
    }

    /// Tells these settings from all others this process made or inherited.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("id", &self.id).finish_non_exhaustive()
    }
}

fn verifier(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, TlsConfigError> {
    if !options.verify {
        return Ok(Arc::new(Verifier::any(provider)));
    }
    let mut roots = RootCertStore::empty();
    let mut pinned = Vec::new();
    if let Some(pem) = &options.trusted {
        let certificates = certificates(pem).map_err(|_| TlsConfigError::BadTrustedCertificate)?;
        if certificates.is_empty() {
            return Err(TlsConfigError::NoTrustedCertificate);
        }
        pinned.extend(certificates.iter().filter_map(Pinned::new));
        roots.add_parsable_certificates(certificates);
        if roots.is_empty() {
            return Err(TlsConfigError::BadTrustedCertificate);
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            return Err(TlsConfigError::NoSystemCertificates);
        }
    }
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|_| TlsConfigError::Refused)?;
    Ok(Arc::new(Verifier::trusted(inner, pinned, provider)))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

fn client_identity(certificate: &[u8], key: &[u8]) -> Result<CertifiedKey, TlsConfigError> {
    let chain = certificates(certificate).map_err(|_| TlsConfigError::BadClientCertificate)?;
    if chain.is_empty() {
        return Err(TlsConfigError::NoClientCertificate);
    }
    if is_encrypted(key) {
        return Err(TlsConfigError::EncryptedClientKey);
    }
    let mut der = PrivateKeyDer::from_pem_slice(key).map_err(|error| match error {
        rustls_pki_types::pem::Error::NoItemsFound => TlsConfigError::NoClientKey,
        _ => TlsConfigError::BadClientKey,
    })?;
    let signing_key = rustls::crypto::ring::sign::any_supported_type(&der);
    der.zeroize();
    let signing_key = signing_key.map_err(|_| TlsConfigError::UnsupportedClientKey)?;
    let identity = CertifiedKey::new(chain, signing_key);
    let belong_together = match identity.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => true,
        Err(rustls::Error::InconsistentKeys(_)) => false,
        // `rustls` does not read all certificates, such as those before version 3. Whether one will
        // do is the server's to say.
        Err(_) => {
            let certificate = Certificate::from_der(&identity.cert[0])
                .map_err(|_| TlsConfigError::BadClientCertificate)?;
            let known = certificate.tbs_certificate().subject_public_key_info().to_der();
            let key = identity.key.public_key();
            key.is_none_or(|key| known.is_ok_and(|known| key.as_ref() == known))
        }
    };
    if belong_together { Ok(identity) } else { Err(TlsConfigError::KeyMismatch) }
}

/// Whether a PEM key asks for a pass phrase: PKCS #8 (RFC 5958 §3) or OpenSSL's older form
/// (RFC 1421 §4.6.1.1).
fn is_encrypted(pem: &[u8]) -> bool {
    pem.split(|byte| *byte == b'\n').any(|line| {
        let line = line.trim_ascii();
        line == b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
            || (line.starts_with(b"Proc-Type:") && line.ends_with(b"ENCRYPTED"))
    })
}
