//! An introspection endpoint: its URL, taken apart once, at configuration time.

use std::fmt;
use std::net::IpAddr;

use rustls_pki_types::ServerName;
use thiserror::Error;
use ureq::http::Uri;

/// Why a URL, or a place to connect to, cannot be an endpoint. The messages say what to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// Not `http://` or `https://`.
    #[error("the URL must begin with \"http://\" or \"https://\"")]
    Scheme,
    /// `user:password@`.
    #[error(
        "the URL must not hold a user name or password: \
         write the credentials as client id and client secret"
    )]
    UserInfo,
    /// `#…`.
    #[error("the URL must not hold a fragment: leave out \"#\" and what follows")]
    Fragment,
    /// A space, a control character or one outside ASCII.
    #[error("the URL must not hold spaces or characters outside ASCII: percent-encode them")]
    Character,
    /// No host, or one that is neither a host name nor an IP address.
    #[error(
        "the URL's host must be a host name, an IPv4 address or an IPv6 address in brackets, \
         such as \"https://login.example.com/oauth/introspect\" or \"http://[::1]:8080/introspect\""
    )]
    Host,
    /// A port that is not one.
    #[error("the URL's port must be a number from 1 to 65535")]
    Port,
    /// A path or query that is not well-formed.
    #[error("the URL's path or query is not well-formed: percent-encode special characters")]
    Path,
    /// `connect` is not HOST:PORT.
    #[error(
        "\"connect\" must be HOST:PORT, such as \"10.0.0.7:8443\", \"as.internal:443\" or \
         \"[fd00::7]:443\""
    )]
    Connect,
}

/// A host: a name for the resolver, or an address that needs none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    /// A name in lower case.
    Name(String),
    /// An IP literal, without brackets.
    Address(IpAddr),
}

impl Host {
    /// Reads a host as it stands in a URL, an IPv6 address in brackets.
    pub(crate) fn parse(text: &str) -> Option<Host> {
        if let Some(inner) = text.strip_prefix('[') {
            let address = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Host::Address(IpAddr::V6(address)));
        }
        if let Ok(address) = text.parse() {
            return Some(Host::Address(IpAddr::V4(address)));
        }
        // The same rule for http and https: what TLS could not verify is a typing mistake.
        match ServerName::try_from(text).ok()? {
            ServerName::DnsName(_) => Some(Host::Name(text.to_ascii_lowercase())),
            _ => None,
        }
    }

    /// What SNI carries, and a certificate must be valid for; `None`: no name that TLS could verify.
    pub(crate) fn server_name(&self) -> Option<ServerName<'static>> {
        match self {
            Host::Name(name) => ServerName::try_from(name.clone()).ok(),
            Host::Address(address) => Some(ServerName::from(*address)),
        }
    }

    pub(crate) fn is_loopback(&self) -> bool {
        match self {
            Host::Name(name) => name.strip_suffix('.').unwrap_or(name) == "localhost",
            Host::Address(address) => address.to_canonical().is_loopback(),
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// Where to introspect: an `http://` or `https://` URL, and possibly another place to connect to.
///
/// Parsed once, while the configuration is read. `Debug` and [`label`](Endpoint::label) leave the
/// query out, since it may hold a key.
#[derive(Clone)]
pub struct Endpoint {
    https: bool,
    host: Host,
    port: u16,
    connect: Option<(Host, u16)>,
    uri: Uri,
    server_name: ServerName<'static>,
    label: String,
    origin: String,
}

impl Endpoint {
    /// Reads `url`; with `connect` (`HOST:PORT`) connections go there instead, while `Host`, SNI
    /// and certificate verification keep to the URL's host.
    ///
    /// # Errors
    /// The first thing wrong, worded for whoever wrote the configuration.
    pub fn parse(url: &str, connect: Option<&str>) -> Result<Endpoint, EndpointError> {
        let (scheme, rest) = url.split_once("://").ok_or(EndpointError::Scheme)?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(EndpointError::Scheme),
        };
        if !rest.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(EndpointError::Character);
        }
        if rest.contains('#') {
            return Err(EndpointError::Fragment);
        }
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path_and_query) = rest.split_at(end);
        if authority.contains('@') {
            return Err(EndpointError::UserInfo);
        }
        let (host, port) = split_port(authority);
        let host = Host::parse(host).ok_or(EndpointError::Host)?;
        let default_port = if https { 443 } else { 80 };
        let port = match port {
            None => default_port,
            Some(port) => parse_port(port).ok_or(EndpointError::Port)?,
        };
        let connect = match connect {
            None => None,
            Some(text) => {
                let (host, port) = split_port(text);
                let host = Host::parse(host).ok_or(EndpointError::Connect)?;
                let port = port.and_then(parse_port).ok_or(EndpointError::Connect)?;
                Some((host, port))
            }
        };

        let scheme = if https { "https" } else { "http" };
        // The default port is left out, because ureq writes the Host header from what is here.
        let shown_port = if port == default_port { String::new() } else { format!(":{port}") };
        let slash = if path_and_query.starts_with('/') { "" } else { "/" };
        let uri: Uri = format!("{scheme}://{host}{shown_port}{slash}{path_and_query}")
            .parse()
            .map_err(|_| EndpointError::Path)?;
        let server_name = host.server_name().ok_or(EndpointError::Host)?;
        let mut origin = format!("{scheme}://{host}:{port}");
        let label = format!("{origin}{}", uri.path());
        if let Some((host, port)) = &connect {
            origin.push_str(&format!("|{host}:{port}"));
        }
        Ok(Endpoint { https, host, port, connect, uri, server_name, label, origin })
    }

    /// Returns how logs and metrics name the endpoint: `scheme://host:port/path`, the port always
    /// there, the query never.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Tells whether the URL is an `https://` one.
    pub fn is_https(&self) -> bool {
        self.https
    }

    /// Tells whether connections stay on this machine: the place they go to (`connect` where it is
    /// given) is 127/8, `::1` or `localhost`.
    pub fn is_loopback(&self) -> bool {
        self.connect.as_ref().map_or(&self.host, |(host, _)| host).is_loopback()
    }

    /// Returns the URL's host, an IPv6 address in brackets.
    pub fn host(&self) -> String {
        self.host.to_string()
    }

    /// Returns the URL's port, or its scheme's.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the whole URL as it is asked, query included: for cache identities, never for logs.
    pub fn url(&self) -> String {
        self.uri.to_string()
    }

    /// Returns the place connections go to as `host:port`; `None` where it is the URL's own.
    pub fn connect(&self) -> Option<String> {
        self.connect.as_ref().map(|(host, port)| format!("{host}:{port}"))
    }

    pub(super) fn uri(&self) -> &Uri {
        &self.uri
    }

    /// What SNI carries and the certificate must be valid for.
    pub(super) fn server_name(&self) -> &ServerName<'static> {
        &self.server_name
    }

    /// Where the connection is dialled.
    pub(super) fn dial_target(&self) -> (&Host, u16) {
        match &self.connect {
            Some((host, port)) => (host, *port),
            None => (&self.host, self.port),
        }
    }

    /// What decides whether two endpoints may share a connection.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("label", &self.label)
            .field("connect", &self.connect)
            .finish_non_exhaustive()
    }
}

/// Splits `host:port`; brackets keep the colons of an IPv6 address together.
pub(crate) fn split_port(authority: &str) -> (&str, Option<&str>) {
    let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[host_end..].find(':') {
        Some(colon) => {
            let (host, port) = authority.split_at(host_end + colon);
            (host, Some(&port[1..]))
        }
        None => (authority, None),
    }
}

/// A port as RFC 3986 §3.2.3 writes it, digits alone; zero is none.
pub(crate) fn parse_port(text: &str) -> Option<u16> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|port| *port != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<Endpoint, EndpointError> {
        Endpoint::parse(url, None)
    }

    #[test]
    fn labels_name_the_port_and_leave_out_the_query() {
        for (url, label) in [
            ("https://login.example.com", "https://login.example.com:443/"),
            ("HTTP://Login.Example.COM/Intro", "http://login.example.com:80/Intro"),
            ("http://127.0.0.1:9090/a/b?key=secret", "http://127.0.0.1:9090/a/b"),
            ("https://[::1]:8443/i", "https://[::1]:8443/i"),
            ("https://[FD00::0:7]/i", "https://[fd00::7]:443/i"),
            ("http://auth_server:8080?tenant=a", "http://auth_server:8080/"),
            ("https://login.example.com:443/x", "https://login.example.com:443/x"),
        ] {
            assert_eq!(parse(url).unwrap().label(), label, "{url}");
        }
    }

    #[test]
    fn urls_keep_their_query_and_lose_the_default_port() {
        for (url, whole) in [
            ("https://a.example:443/i?x=1&y=%20", "https://a.example/i?x=1&y=%20"),
            ("https://a.example:80/i", "https://a.example:80/i"),
            ("http://a.example?x=1", "http://a.example/?x=1"),
        ] {
            assert_eq!(parse(url).unwrap().url(), whole);
        }
    }

    #[test]
    fn debug_never_shows_the_query() {
        let endpoint = parse("https://a.example/i?key=hunter2").unwrap();
        assert!(!format!("{endpoint:?}").contains("hunter2"));
    }

    #[test]
    fn mistakes_are_named() {
        use EndpointError::*;
        for (url, error) in [
            ("", Scheme),
            ("login.example.com/i", Scheme),
            ("ftp://a.example/", Scheme),
            ("unix:/run/as.sock", Scheme),
            ("https://user:pass@a.example/", UserInfo),
            ("https://user@a.example/", UserInfo),
            ("https://a.example/#frag", Fragment),
            ("https://a.example/a b", Character),
            ("https://a.example/\u{e9}", Character),
            ("https://a.example/\r\nX: y", Character),
            ("https://", Host),
            ("https:///i", Host),
            ("https://:8443/i", Host),
            ("https://a..example/i", Host),
            ("https://[::1/i", Host),
            ("https://[::1%25eth0]/i", Host),
            ("https://::1/i", Host),
            ("https://exa%6dple.com/", Host),
            ("https://256.1.1.1/", Host),
            ("https://a.example:/i", Port),
            ("https://a.example:0/i", Port),
            ("https://a.example:65536/i", Port),
            ("https://a.example:+80/i", Port),
            ("https://a.example:8a/i", Port),
        ] {
            assert_eq!(parse(url).unwrap_err(), error, "{url:?}");
        }
    }

    #[test]
    fn connect_takes_the_dial_and_nothing_else() {
        let endpoint = Endpoint::parse("https://a.example/i", Some("[::1]:8443")).unwrap();
        assert_eq!(endpoint.label(), "https://a.example:443/i");
        assert_eq!(endpoint.host(), "a.example");
        assert_eq!(endpoint.connect().as_deref(), Some("[::1]:8443"));
        assert_eq!(endpoint.dial_target(), (&Host::Address("::1".parse().unwrap()), 8443));
        assert_eq!(endpoint.server_name(), &ServerName::try_from("a.example").unwrap());
        let plain = parse("https://a.example/i").unwrap();
        assert_ne!(plain.origin(), endpoint.origin());
        for wrong in ["", "10.0.0.7", "10.0.0.7:", ":443", "10.0.0.7:0", "a b:1", "u@h:1", "::1:1"]
        {
            assert_eq!(
                Endpoint::parse("https://a.example/", Some(wrong)).unwrap_err(),
                EndpointError::Connect,
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn loopback_is_judged_by_where_connections_go() {
        for url in [
            "http://127.0.0.1/",
            "http://127.9.9.9:81/",
            "http://[::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://LOCALHOST:8080/",
            "http://localhost./",
        ] {
            assert!(parse(url).unwrap().is_loopback(), "{url}");
        }
        for url in ["http://10.0.0.1/", "http://localhost.example.com/", "http://[::2]/"] {
            assert!(!parse(url).unwrap().is_loopback(), "{url}");
        }
        let away = Endpoint::parse("http://localhost/", Some("10.0.0.7:80")).unwrap();
        assert!(!away.is_loopback());
        let near = Endpoint::parse("http://as.example/", Some("127.0.0.1:80")).unwrap();
        assert!(near.is_loopback());
    }
}
