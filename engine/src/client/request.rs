//! The request as `ureq` takes it.

use bytes::Bytes;
use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ureq::http::{Method, Request};
use zeroize::Zeroizing;

use super::Call;
use super::error::{CallError, RequestCause};

/// How the module names itself to the authorization server.
const USER_AGENT: &str = concat!("ngx-phantom-token/", env!("CARGO_PKG_VERSION"));

/// The headers that every call of one location has; made once, while the configuration is read.
///
/// Copies share the credentials, which are wiped with the last of them.
#[derive(Clone)]
pub struct Common(HeaderMap);

impl Common {
    /// Makes the headers; `authorization` is the whole value of that header, `accept` the media
    /// types asked for.
    ///
    /// # Errors
    /// [`RequestCause::Header`] where one of them is no header's value.
    pub fn new(
        authorization: Option<Zeroizing<Vec<u8>>>,
        accept: &[u8],
    ) -> Result<Self, RequestCause> {
        const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");
        let invalid = RequestCause::Header;
        let mut headers = HeaderMap::with_capacity(8);
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, secret(authorization)?);
        }
        headers.insert(header::CONTENT_TYPE, FORM);
        headers.insert(header::ACCEPT, HeaderValue::from_bytes(accept).map_err(|_| invalid)?);
        // Without it any coding would do (RFC 9110 §12.5.3), and none is read.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        Ok(Self(headers))
    }
}

/// A header's value that is wiped with the last copy of it.
fn secret(value: Zeroizing<Vec<u8>>) -> Result<HeaderValue, RequestCause> {
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(value))
        .map_err(|_| RequestCause::Header)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The request of one attempt, with its form.
pub(super) fn build<'a>(call: &Call, form: &'a [u8]) -> Result<Request<&'a [u8]>, CallError> {
    let invalid = CallError::Request(RequestCause::Header);
    let mut request = Request::new(form);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = call.endpoint.uri().clone();
    let headers = request.headers_mut();
    headers.clone_from(&call.common.0);
    for (name, value) in &call.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid)?;
        let value = secret(value.clone()).map_err(CallError::Request)?;
        // The one of these that a location may have its own of.
        if name == header::USER_AGENT {
            headers.insert(name, value);
        } else {
            headers.append(name, value);
        }
    }
    Ok(request)
}

/// Bytes the request takes on the wire, an upper bound.
pub(super) fn size(request: &Request<&[u8]>) -> usize {
    const REST: usize = 256; // request line's fixed parts and Content-Length
    let headers: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    // The URI holds the target and Host's value.
    let uri = request.uri();
    let target = uri.path().len() + uri.query().map_or(0, str::len);
    let host = uri.authority().map_or(0, |authority| authority.as_str().len());
    REST + headers + target + host + request.body().len()
}
