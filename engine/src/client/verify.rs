//! Which server certificates are accepted.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key,
};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use webpki::RawPublicKeyEntity;
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName};
use x509_cert::{Certificate, Version};

use super::error::TlsCause;

/// A certificate that is itself trusted: as a server's certificate it needs no path, only the right
/// name and a validity that holds.
#[derive(Debug)]
pub(super) struct Pinned {
    der: CertificateDer<'static>,
    /// Unix seconds.
    not_before: u64,
    /// Unix seconds.
    not_after: u64,
    /// The subject's common names, where no alternative name says which hosts it is for: nobody else
    /// issues by them any more (RFC 9110 §4.3.4), but this one was chosen by the operator.
    common_names: Option<Vec<String>>,
    /// Of a certificate before version 3, which `webpki` does not read.
    old_key: Option<SubjectPublicKeyInfoDer<'static>>,
}

impl Pinned {
    /// Takes up a trusted certificate, a CA's or not; `None` where it cannot be read.
    pub(super) fn new(certificate: &CertificateDer<'static>) -> Option<Pinned> {
        let parsed = Certificate::from_der(certificate).ok()?;
        let tbs = parsed.tbs_certificate();
        let old_key = match tbs.version() {
            Version::V3 => None,
            _ => Some(tbs.subject_public_key_info().to_der().ok()?.into()),
        };
        Some(Pinned {
            der: certificate.clone(),
            not_before: tbs.validity().not_before.to_unix_duration().as_secs(),
            not_after: tbs.validity().not_after.to_unix_duration().as_secs(),
            common_names: (!names_a_host(&parsed)).then(|| common_names(&parsed)),
            old_key,
        })
    }

    fn verify(&self, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
        if now.as_secs() < self.not_before {
            return Err(CertificateError::NotValidYet.into());
        }
        if now.as_secs() > self.not_after {
            return Err(CertificateError::Expired.into());
        }
        match &self.common_names {
            None => verify_server_name(&ParsedCertificate::try_from(&self.der)?, name),
            Some(common) if common.iter().any(|common| is_for(common, name)) => Ok(()),
            Some(_) => Err(CertificateError::NotValidForName.into()),
        }
    }
}

/// Which certificates a server may present.
#[derive(Debug)]
pub(super) struct Verifier {
    /// `None` accepts any certificate: `phantom_token_ssl_verify off`.
    trusted: Option<Trusted>,
    schemes: Vec<SignatureScheme>,
}

/// Verifies as the Web PKI does, and accepts a pinned certificate besides.
///
/// `rustls` alone would refuse a self-signed certificate that is marked as a CA's, one that names its
/// host in its subject, and one before version 3. These are what `openssl req -x509` and
/// `openssl x509 -req` make, and what many an internal authorization server presents.
#[derive(Debug)]
struct Trusted {
    inner: Arc<WebPkiServerVerifier>,
    pinned: Vec<Pinned>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    /// Accepts any certificate.
    pub(super) fn any(provider: &CryptoProvider) -> Self {
        let mut schemes = provider.signature_verification_algorithms.supported_schemes();
        // Nothing is verified, so servers with keys `ring` cannot verify work too.
        schemes.extend([
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED448,
            SignatureScheme::RSA_PKCS1_SHA1,
        ]);
        Verifier { trusted: None, schemes }
    }

    /// Accepts what `inner` accepts, and `pinned`.
    pub(super) fn trusted(
        inner: Arc<WebPkiServerVerifier>,
        pinned: Vec<Pinned>,
        provider: &CryptoProvider,
    ) -> Self {
        let schemes = inner.supported_verify_schemes();
        let algorithms = provider.signature_verification_algorithms;
        Verifier { trusted: Some(Trusted { inner, pinned, algorithms }), schemes }
    }
}

impl Trusted {
    fn pinned(&self, certificate: &CertificateDer<'_>) -> Option<&Pinned> {
        self.pinned.iter().find(|pinned| pinned.der == *certificate)
    }

    /// The key of a pinned certificate that only this verifier reads.
    fn old_key(&self, certificate: &CertificateDer<'_>) -> Option<&SubjectPublicKeyInfoDer<'_>> {
        self.pinned(certificate)?.old_key.as_ref()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(trusted) = &self.trusted else { return Ok(ServerCertVerified::assertion()) };
        if let Some(pinned) = trusted.pinned(end_entity) {
            pinned.verify(server_name, now)?;
            return Ok(ServerCertVerified::assertion());
        }
        trusted
            .inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| explain(error, end_entity))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(trusted) = &self.trusted else { return Ok(HandshakeSignatureValid::assertion()) };
        match trusted.old_key(certificate) {
            Some(key) => verify_tls12_signature_with_key(message, key, signed, &trusted.algorithms),
            None => trusted.inner.verify_tls12_signature(message, certificate, signed),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let Some(trusted) = &self.trusted else { return Ok(HandshakeSignatureValid::assertion()) };
        match trusted.old_key(certificate) {
            Some(key) => {
                verify_tls13_signature_with_raw_key(message, key, signed, &trusted.algorithms)
            }
            None => trusted.inner.verify_tls13_signature(message, certificate, signed),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes.clone()
    }
}

/// As `rustls` does with the key of a certificate that it reads itself.
fn verify_tls12_signature_with_key(
    message: &[u8],
    key: &SubjectPublicKeyInfoDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let bad = || Error::from(CertificateError::BadSignature);
    let key = RawPublicKeyEntity::try_from(key).map_err(|_| CertificateError::BadEncoding)?;
    let known = algorithms.mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    let (_, algorithms) = known.ok_or_else(bad)?;
    let verified = algorithms
        .iter()
        .any(|algorithm| key.verify_signature(*algorithm, message, signed.signature()).is_ok());
    if verified { Ok(HandshakeSignatureValid::assertion()) } else { Err(bad()) }
}

/// Finds the plainest words for "no path to a trusted certificate", and for what the Web PKI does not
/// take any more.
fn explain(error: Error, end_entity: &CertificateDer<'_>) -> Error {
    let Error::InvalidCertificate(fault) = &error else { return error };
    use CertificateError::{
        BadSignature, NotValidForName, NotValidForNameContext, Other, UnknownIssuer,
    };
    // A wrong signature on the way is an issuer that only has a trusted one's name.
    let untrusted = matches!(fault, UnknownIssuer | BadSignature);
    let unnamed = matches!(fault, NotValidForName | NotValidForNameContext { .. });
    if !untrusted && !unnamed && !matches!(fault, Other(_)) {
        return error;
    }
    let cause = match Certificate::from_der(end_entity) {
        Ok(parsed) if parsed.tbs_certificate().version() != Version::V3 => TlsCause::OldVersion,
        Ok(parsed) if unnamed && !names_a_host(&parsed) => TlsCause::NoName,
        Ok(parsed) if !unnamed && is_self_issued(&parsed) => TlsCause::SelfSigned,
        Ok(parsed) if !unnamed && !untrusted && is_ca(&parsed) => TlsCause::CaCertificate,
        _ if untrusted => return UnknownIssuer.into(),
        _ => return error,
    };
    Error::InvalidCertificate(Other(OtherError(Arc::new(cause))))
}

fn is_self_issued(certificate: &Certificate) -> bool {
    certificate.tbs_certificate().issuer() == certificate.tbs_certificate().subject()
}

fn is_ca(certificate: &Certificate) -> bool {
    let constraints = certificate.tbs_certificate().get_extension::<BasicConstraints>();
    matches!(constraints, Ok(Some((_, constraints))) if constraints.ca)
}

/// Whether an alternative name says which hosts it is for; where that cannot be read, it is taken to.
fn names_a_host(certificate: &Certificate) -> bool {
    let is_host =
        |name: &GeneralName| matches!(name, GeneralName::DnsName(_) | GeneralName::IpAddress(_));
    match certificate.tbs_certificate().get_extension::<SubjectAltName>() {
        Ok(Some((_, names))) => names.0.iter().any(is_host),
        Ok(None) => false,
        Err(_) => true,
    }
}

/// The subject's common names.
fn common_names(certificate: &Certificate) -> Vec<String> {
    /// 2.5.4.3 (X.520).
    const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
    let subject = certificate.tbs_certificate().subject();
    let common = subject.iter().filter(|attribute| attribute.oid == COMMON_NAME);
    common
        .filter_map(|attribute| std::str::from_utf8(attribute.value.value()).ok())
        .map(str::to_owned)
        .collect()
}

/// Whether a common name is this host's: the same, or with `*` for its first label (RFC 9525 §6.3).
fn is_for(common: &str, name: &ServerName<'_>) -> bool {
    match name {
        ServerName::IpAddress(address) => {
            common.parse::<IpAddr>().is_ok_and(|common| common == IpAddr::from(*address))
        }
        ServerName::DnsName(name) => {
            let name = name.as_ref();
            let parent = name.split_once('.').map(|(_, parent)| parent);
            common.eq_ignore_ascii_case(name)
                || match (common.strip_prefix("*."), parent) {
                    (Some(common), Some(parent)) => common.eq_ignore_ascii_case(parent),
                    _ => false,
                }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_name_is_one_host_s_or_those_of_one_domain() {
        for (common, host, is) in [
            ("as.example", "as.example", true),
            ("AS.example", "as.EXAMPLE", true),
            ("*.as.example", "login.as.example", true),
            ("*.as.example", "as.example", false),
            ("*.as.example", "a.login.as.example", false),
            ("*", "localhost", false),
            ("*.", "localhost", false),
            ("as.example.org", "as.example", false),
            ("", "as.example", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("0:0::1", "::1", true),
            ("*.0.0.1", "127.0.0.1", false),
        ] {
            let name = ServerName::try_from(host).unwrap();
            assert_eq!(is_for(common, &name), is, "{common:?} for {host}");
        }
    }
}
