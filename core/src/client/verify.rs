//! Which server certificates are accepted.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::ext::pkix::BasicConstraints;

use super::error::TlsCause;

/// A self-signed certificate that is itself trusted: as a server's certificate it needs no path,
/// only the right name and a validity that holds.
#[derive(Debug)]
pub(super) struct Pinned {
    der: CertificateDer<'static>,
    /// Unix seconds.
    not_before: u64,
    /// Unix seconds.
    not_after: u64,
}

impl Pinned {
    /// Takes up a trusted certificate where it is its own issuer, a CA's or not.
    pub(super) fn from_self_signed(certificate: &CertificateDer<'static>) -> Option<Pinned> {
        let parsed = Certificate::from_der(certificate).ok()?;
        if !is_self_issued(&parsed) {
            return None;
        }
        let validity = parsed.tbs_certificate().validity();
        Some(Pinned {
            der: certificate.clone(),
            not_before: validity.not_before.to_unix_duration().as_secs(),
            not_after: validity.not_after.to_unix_duration().as_secs(),
        })
    }

    fn verify(&self, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
        if now.as_secs() < self.not_before {
            return Err(CertificateError::NotValidYet.into());
        }
        if now.as_secs() > self.not_after {
            return Err(CertificateError::Expired.into());
        }
        verify_server_name(&ParsedCertificate::try_from(&self.der)?, name)
    }
}

/// Verifies as the Web PKI does, and accepts a pinned self-signed certificate besides.
///
/// `rustls` alone would refuse a self-signed certificate that is marked as a CA's, which is what
/// `openssl req -x509` makes and what many an internal authorization server presents.
pub(super) struct TrustedCertificate {
    inner: Arc<WebPkiServerVerifier>,
    pinned: Vec<Pinned>,
}

impl TrustedCertificate {
    pub(super) fn new(inner: Arc<WebPkiServerVerifier>, pinned: Vec<Pinned>) -> Self {
        TrustedCertificate { inner, pinned }
    }
}

impl fmt::Debug for TrustedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedCertificate")
            .field("pinned", &self.pinned.len())
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for TrustedCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(pinned) = self.pinned.iter().find(|pinned| pinned.der == *end_entity) {
            pinned.verify(server_name, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        self.inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| explain(error, end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Accepts any certificate: `phantom_token_ssl_verify off`.
#[derive(Debug)]
pub(super) struct AnyCertificate {
    schemes: Vec<SignatureScheme>,
}

impl AnyCertificate {
    pub(super) fn new(provider: &CryptoProvider) -> Self {
        let mut schemes = provider.signature_verification_algorithms.supported_schemes();
        // Nothing is verified, so servers with keys `ring` cannot verify work too.
        schemes.extend([
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED448,
            SignatureScheme::RSA_PKCS1_SHA1,
        ]);
        AnyCertificate { schemes }
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// Finds the plainest words for "no path to a trusted certificate".
fn explain(error: Error, end_entity: &CertificateDer<'_>) -> Error {
    let Error::InvalidCertificate(fault) = &error else { return error };
    // A wrong signature on the way is an issuer that only has a trusted one's name.
    let untrusted =
        matches!(fault, CertificateError::UnknownIssuer | CertificateError::BadSignature);
    if !untrusted && !matches!(fault, CertificateError::Other(_)) {
        return error;
    }
    let cause = match Certificate::from_der(end_entity) {
        Ok(parsed) if is_self_issued(&parsed) => TlsCause::SelfSigned,
        Ok(parsed) if !untrusted && is_ca(&parsed) => TlsCause::CaCertificate,
        _ if untrusted => return CertificateError::UnknownIssuer.into(),
        _ => return error,
    };
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(cause))))
}

fn is_self_issued(certificate: &Certificate) -> bool {
    certificate.tbs_certificate().issuer() == certificate.tbs_certificate().subject()
}

fn is_ca(certificate: &Certificate) -> bool {
    let constraints = certificate.tbs_certificate().get_extension::<BasicConstraints>();
    matches!(constraints, Ok(Some((_, constraints))) if constraints.ca)
}
