//! Certificates made for one test and the server settings that use them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SigningKey as _, date_time_ymd,
};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate and its private key, both as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl Identity {
    /// A self-signed server certificate, as a development server makes for itself. It is its own
    /// issuer and says it is a CA, as `openssl req -x509` would have it.
    ///
    /// # Panics
    /// Where a name is neither a host name nor an address.
    pub fn self_signed(names: &[&str]) -> Self {
        let mut params = params("self-signed", names);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self::sign(&params)
    }

    /// A self-signed server certificate that does not say it is a CA.
    ///
    /// # Panics
    /// Where a name is neither a host name nor an address.
    pub fn self_signed_leaf(names: &[&str]) -> Self {
        Self::sign(&params("self-signed", names))
    }

    fn sign(params: &CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key pair");
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Self { certificate, key: key.serialize_pem() }
    }

    /// Writes `NAME.pem` and `NAME.key` into a directory and returns their paths.
    ///
    /// # Panics
    /// Where they cannot be written.
    pub fn write(&self, directory: &Path, name: &str) -> (PathBuf, PathBuf) {
        let certificate = directory.join(format!("{name}.pem"));
        let key = directory.join(format!("{name}.key"));
        fs::write(&certificate, &self.certificate).expect("writes the certificate");
        fs::write(&key, &self.key).expect("writes the key");
        (certificate, key)
    }
}

/// A certification authority of a test.
pub struct Authority {
    /// Its certificate as PEM, to be trusted.
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes an authority with a key of its own.
    ///
    /// # Panics
    /// Where no key pair can be made.
    pub fn generate() -> Self {
        let key = KeyPair::generate().expect("a key pair");
        let mut params = params("Test CA", &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a certificate").pem();
        Self { certificate, issuer: Issuer::new(params, key) }
    }

    /// A server certificate for these host names and addresses.
    ///
    /// # Panics
    /// Where a name is neither a host name nor an address.
    pub fn server(&self, names: &[&str]) -> Identity {
        self.issue(params("server", names), ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A server certificate that has expired.
    ///
    /// # Panics
    /// Where a name is neither a host name nor an address.
    pub fn expired_server(&self, names: &[&str]) -> Identity {
        let mut params = params("server", names);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A server certificate that is not valid yet.
    ///
    /// # Panics
    /// Where a name is neither a host name nor an address.
    pub fn future_server(&self, names: &[&str]) -> Identity {
        let mut params = params("server", names);
        params.not_before = date_time_ymd(2090, 1, 1);
        params.not_after = date_time_ymd(2091, 1, 1);
        self.issue(params, ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate of a client, with a server's names.
    ///
    /// # Panics
    /// Where a name is neither a host name nor an address.
    pub fn client_as_server(&self, names: &[&str]) -> Identity {
        self.issue(params("client", names), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A server certificate, issued by an intermediate of this authority; the intermediate's own
    /// certificate follows it. Where `is_ca` is not set, the intermediate is no authority.
    ///
    /// # Panics
    /// Where a name is neither a host name nor an address.
    pub fn server_of_intermediate(&self, names: &[&str], is_ca: bool) -> Identity {
        let key = KeyPair::generate().expect("a key pair");
        let mut intermediate = params("Test intermediate", &["intermediate.example"]);
        if is_ca {
            intermediate.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            intermediate.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        }
        let certificate = intermediate.signed_by(&key, &self.issuer).expect("a certificate").pem();
        let authority = Self { certificate, issuer: Issuer::new(intermediate, key) };
        let leaf = authority.server(names);
        Identity { certificate: leaf.certificate + &authority.certificate, key: leaf.key }
    }

    /// A client certificate with this common name.
    ///
    /// # Panics
    /// Where no key pair can be made.
    pub fn client(&self, name: &str) -> Identity {
        self.issue(params(name, &[]), ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A server's or client's certificate of X.509 version 1, as `openssl x509 -req` makes it: its
    /// common name is all it says.
    ///
    /// # Panics
    /// Where no key pair can be made.
    pub fn version_1(&self, name: &str) -> Identity {
        let key = KeyPair::generate().expect("a key pair");
        let newer = params(name, &[]).signed_by(&key, &self.issuer).expect("a certificate");
        let (_, content) = der::parts(newer.der())[0];
        let [tbs, algorithm, _] = der::parts(content)[..] else { panic!("no certificate") };
        // All but version and extensions (RFC 5280 §4.1).
        let fields = der::parts(tbs.1).into_iter().filter(|(tag, _)| !matches!(tag, 0xa0 | 0xa3));
        let fields: Vec<u8> = fields.flat_map(|(tag, part)| der::part(tag, part)).collect();
        let tbs = der::part(0x30, &fields);
        let signature = self.issuer.key().sign(&tbs).expect("a signature");
        let rest = [der::part(0x30, algorithm.1), der::part(3, &[&[0], &signature[..]].concat())];
        let certificate = der::part(0x30, &[tbs, rest.concat()].concat());
        Identity { certificate: pem(&certificate), key: key.serialize_pem() }
    }

    /// A server certificate with its host in its common name alone.
    ///
    /// # Panics
    /// Where no key pair can be made.
    pub fn common_name_alone(&self, name: &str) -> Identity {
        self.issue(params(name, &[]), ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn issue(&self, mut params: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Identity {
        let key = KeyPair::generate().expect("a key pair");
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").pem();
        Identity { certificate, key: key.serialize_pem() }
    }
}

/// As much of DER (X.690) as taking a certificate apart needs.
mod der {
    /// Tag and content of each part in `rest`.
    pub(super) fn parts(mut rest: &[u8]) -> Vec<(u8, &[u8])> {
        let mut parts = Vec::new();
        while let [tag, first, more @ ..] = rest {
            let bytes = if *first < 0x80 { 0 } else { usize::from(first & 0x7f) };
            let long =
                more[..bytes].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            let length = if bytes == 0 { usize::from(*first) } else { long };
            let (part, others) = more[bytes..].split_at(length);
            parts.push((*tag, part));
            rest = others;
        }
        parts
    }

    /// A part of less than 64 KiB.
    pub(super) fn part(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).expect("a short part").to_be_bytes();
        let header = match content.len() {
            0..0x80 => vec![tag, length[1]],
            0x80..0x100 => vec![tag, 0x81, length[1]],
            _ => vec![tag, 0x82, length[0], length[1]],
        };
        [&header[..], content].concat()
    }
}

fn pem(certificate: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines = text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line) + "\n");
    let lines: String = lines.collect();
    format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n")
}

fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// The settings of a TLS server with this identity; `client_ca` (PEM) makes it require client
/// certificates of that authority.
///
/// # Panics
/// Where the PEM text is faulty.
pub fn server_config(identity: &Identity, client_ca: Option<&str>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("protocol versions");
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(certificates(pem));
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .expect("a client certificate authority");
            builder.with_client_cert_verifier(verifier)
        }
    };
    Arc::new(builder.with_cert_resolver(presented(identity)))
}

/// What presents an identity, be it a good one or not.
///
/// # Panics
/// Where the PEM text is faulty.
pub fn presented(identity: &Identity) -> Arc<SingleCertAndKey> {
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).expect("a private key");
    let key = rustls::crypto::ring::sign::any_supported_type(&key).expect("a signing key");
    Arc::new(CertifiedKey::new(certificates(&identity.certificate), key).into())
}

fn certificates(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().expect("PEM")
}
