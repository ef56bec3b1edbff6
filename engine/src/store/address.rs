//! Where a store's server is: its URL, taken apart once, at configuration time.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls_pki_types::ServerName;
use thiserror::Error;

use crate::client::{Host, Place, parse_port, split_port};

/// The port of a URL that has none.
const PORT: u16 = 6379;

/// The longest path of a socket, in bytes (unix(7)).
const MAX_PATH: usize = 107;

/// Why a URL cannot be a store's. The messages say what to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddressError {
    /// None of the schemes.
    #[error(
        "the URL must begin with \"redis://\", \"rediss://\", \"valkey://\", \"valkeys://\" or \
         \"unix:/\""
    )]
    Scheme,
    /// `user:password@`.
    #[error(
        "the URL must not hold a user name or password: write them as \"user\" and \
         \"password_file\""
    )]
    UserInfo,
    /// A space, a control character or one outside ASCII.
    #[error("the URL must not hold spaces or characters outside ASCII")]
    Character,
    /// No host, or one that is neither a host name nor an IP address.
    #[error(
        "the URL's host must be a host name, an IPv4 address or an IPv6 address in brackets, \
         such as \"rediss://valkey.internal:6379\" or \"redis://[::1]\""
    )]
    Host,
    /// A port that is not one.
    #[error("the URL's port must be a number from 1 to 65535")]
    Port,
    /// A database that is none.
    #[error(
        "the URL's database must be a number from 0 to 65535, such as \
         \"redis://valkey.internal/2\" or \"unix:/run/valkey.sock:2\""
    )]
    Database,
    /// A path that is no socket's.
    #[error("the path of the socket must be absolute, and have 107 bytes at most")]
    Path,
    /// Parameters, or a fragment.
    #[error("the URL must not hold parameters or a fragment: leave out \"?\" or \"#\"")]
    Parameters,
    /// Not a name that a certificate can be for.
    #[error("\"ssl_name\" must be a host name or an IP address")]
    Name,
}

/// How a store's server is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Over TCP.
    Plain,
    /// Over TCP and TLS.
    Tls,
    /// Over a UNIX socket.
    Socket,
}

/// Where a store's server is, and how it is reached.
#[derive(Clone)]
pub struct Address {
    at: At,
    /// What a certificate must be valid for, where TLS is spoken.
    tls_name: Option<ServerName<'static>>,
    database: u16,
    label: String,
}

#[derive(Clone)]
enum At {
    Host(Host, u16),
    Path(PathBuf),
}

impl Address {
    /// Reads `url`: `redis://HOST[:PORT][/DB]` (`valkey` for `redis`, and an `s` behind it for TLS), or
    /// `unix:/PATH[:DB]`. With `tls_name` SNI and the certificate's verification go by that name.
    ///
    /// # Errors
    /// The first thing wrong, worded for whoever wrote the configuration.
    pub fn parse(url: &str, tls_name: Option<&str>) -> Result<Self, AddressError> {
        if !url.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AddressError::Character);
        }
        if let Some(path) = url.strip_prefix("unix:") {
            return Self::at_path(path);
        }
        let (scheme, rest) = url.split_once("://").ok_or(AddressError::Scheme)?;
        let scheme = scheme.to_ascii_lowercase();
        let tls = match scheme.as_str() {
            "redis" | "valkey" => false,
            "rediss" | "valkeys" => true,
            _ => return Err(AddressError::Scheme),
        };
        if rest.contains('@') {
            return Err(AddressError::UserInfo);
        }
        if rest.contains(['?', '#']) {
            return Err(AddressError::Parameters);
        }
        let (authority, database) = match rest.split_once('/') {
            None | Some((_, "")) => (rest.trim_end_matches('/'), 0),
            Some((authority, database)) => (authority, self::database(database)?),
        };
        let (host, port) = split_port(authority);
        let host = Host::parse(host).ok_or(AddressError::Host)?;
        let port = match port {
            None => PORT,
            Some(port) => parse_port(port).ok_or(AddressError::Port)?,
        };
        let tls_name = match (tls, tls_name) {
            (false, _) => None,
            (true, None) => Some(host.server_name().ok_or(AddressError::Host)?),
            (true, Some(name)) => {
                let name = Host::parse(name).and_then(|host| host.server_name());
                Some(name.ok_or(AddressError::Name)?)
            }
        };
        let label = format!("{scheme}://{host}:{port}");
        Ok(Address { at: At::Host(host, port), tls_name, database, label })
    }

    fn at_path(rest: &str) -> Result<Self, AddressError> {
        let (path, database) = match rest.rsplit_once(':') {
            None => (rest, 0),
            Some((path, database)) => (path, self::database(database)?),
        };
        if !path.starts_with('/') || path.ends_with('/') || path.len() > MAX_PATH {
            return Err(AddressError::Path);
        }
        let label = format!("unix:{path}");
        Ok(Address { at: At::Path(PathBuf::from(path)), tls_name: None, database, label })
    }

    /// Returns how logs and metrics name the server: `scheme://host:port`, the port always there, or
    /// `unix:/path`.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Tells whether what goes over the connection is encrypted.
    pub fn is_tls(&self) -> bool {
        self.tls_name.is_some()
    }

    /// Returns how it is reached.
    pub fn reach(&self) -> Reach {
        match (&self.at, &self.tls_name) {
            (At::Path(_), _) => Reach::Socket,
            (At::Host(..), Some(_)) => Reach::Tls,
            (At::Host(..), None) => Reach::Plain,
        }
    }

    /// Tells whether connections stay on this machine.
    pub fn is_local(&self) -> bool {
        match &self.at {
            At::Host(host, _) => host.is_loopback(),
            At::Path(_) => true,
        }
    }

    /// Returns the number of the database.
    pub fn database(&self) -> u16 {
        self.database
    }

    pub(super) fn tls_name(&self) -> Option<&ServerName<'static>> {
        self.tls_name.as_ref()
    }

    pub(super) fn place(&self) -> Place<'_> {
        match &self.at {
            At::Host(host, port) => Place::Host(host, *port),
            At::Path(path) => Place::Path(Path::new(path)),
        }
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address").field("label", &self.label).finish_non_exhaustive()
    }
}

/// A database's number: digits alone.
fn database(text: &str) -> Result<u16, AddressError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(AddressError::Database);
    }
    text.parse().map_err(|_| AddressError::Database)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, label, tls, local, database) in [
            ("redis://127.0.0.1", "redis://127.0.0.1:6379", false, true, 0),
            ("redis://127.0.0.1/", "redis://127.0.0.1:6379", false, true, 0),
            ("REDISS://Valkey.Internal:6380/2", "rediss://valkey.internal:6380", true, false, 2),
            ("valkey://[::1]:7/15", "valkey://[::1]:7", false, true, 15),
            ("valkeys://10.0.0.7", "valkeys://10.0.0.7:6379", true, false, 0),
            ("unix:/run/valkey.sock", "unix:/run/valkey.sock", false, true, 0),
            ("unix:/run/valkey.sock:3", "unix:/run/valkey.sock", false, true, 3),
        ] {
            let address = Address::parse(url, None).unwrap();
            assert_eq!(address.label(), label);
            assert_eq!((address.is_tls(), address.is_local()), (tls, local), "{url}");
            assert_eq!(address.database(), database, "{url}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        use AddressError::*;
        for (url, error) in [
            ("", Scheme),
            ("valkey.internal:6379", Scheme),
            ("http://valkey.internal", Scheme),
            ("redis://u:p@valkey.internal", UserInfo),
            ("redis://p@valkey.internal", UserInfo),
            ("redis://valkey internal", Character),
            ("redis://valkey.internal\n", Character),
            ("redis://", Host),
            ("redis://:6379", Host),
            ("redis://a..b", Host),
            ("redis://[::1", Host),
            ("redis://a:", Port),
            ("redis://a:0", Port),
            ("redis://a:65536", Port),
            ("redis://a/x", Database),
            ("redis://a/1/2", Database),
            ("redis://a/+1", Database),
            ("redis://a/65536", Database),
            ("redis://a?db=1", Parameters),
            ("redis://a/1#x", Parameters),
            ("unix:run/valkey.sock", Path),
            ("unix:", Path),
            ("unix:/", Path),
            ("unix:/run/valkey.sock:", Database),
            ("unix:/run/valkey.sock:x", Database),
        ] {
            assert_eq!(Address::parse(url, None).unwrap_err(), error, "{url:?}");
        }
        let long = format!("unix:/{}", "x".repeat(MAX_PATH));
        assert_eq!(Address::parse(&long, None).unwrap_err(), Path);
    }

    #[test]
    fn the_name_in_the_certificate_may_be_another() {
        let name =
            |url: &str, name| Address::parse(url, name).map(|known| known.tls_name().cloned());
        let known = |name: &'static str| Ok(Some(ServerName::try_from(name).unwrap()));
        assert_eq!(name("rediss://a.example", None), known("a.example"));
        assert_eq!(name("rediss://10.0.0.7", Some("a.example")), known("a.example"));
        assert_eq!(name("rediss://a.example", Some("a b")), Err(AddressError::Name));
        assert_eq!(name("redis://a.example", Some("a.example")), Ok(None));
    }
}
