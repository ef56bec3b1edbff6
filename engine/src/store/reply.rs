//! What a store answers, and why it may not have answered. Nothing here that can be shown has a byte
//! that the server sent.

use std::borrow::Cow;
use std::fmt;
use std::io;

use thiserror::Error;

use crate::client::{ConnectCause, Phase, TlsCause};
use crate::shared::counters::StoreErrorReason;

/// A reply to one command.
#[derive(Clone, PartialEq, Eq)]
pub enum Reply {
    /// There is nothing: no such key, or a condition (`NX`) that did not hold.
    Nil,
    /// A status, such as `OK`.
    Simple(Cow<'static, [u8]>),
    /// A number.
    Integer(i64),
    /// A string of bytes.
    Bulk(Vec<u8>),
    /// Several.
    Array(Vec<Reply>),
    /// The command failed.
    Error(ServerError),
}

impl Reply {
    /// Tells whether it is the status `OK`.
    pub fn is_ok(&self) -> bool {
        matches!(self, Reply::Simple(status) if **status == *b"OK")
    }

    /// Returns the bytes, where it is a string of them.
    pub fn bulk(&self) -> Option<&[u8]> {
        match self {
            Reply::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Returns the items, where there are several.
    pub fn array(&self) -> Option<&[Reply]> {
        match self {
            Reply::Array(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the error, where the command failed.
    pub fn error(&self) -> Option<ServerError> {
        match self {
            Reply::Error(error) => Some(*error),
            _ => None,
        }
    }
}

impl fmt::Debug for Reply {
    /// Kinds and sizes, never a byte.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Nil => f.write_str("Nil"),
            Reply::Simple(status) => write!(f, "Simple({} bytes)", status.len()),
            Reply::Integer(_) => f.write_str("Integer"),
            Reply::Bulk(bytes) => write!(f, "Bulk({} bytes)", bytes.len()),
            Reply::Array(items) => f.debug_list().entries(items).finish(),
            Reply::Error(error) => write!(f, "Error({error:?})"),
        }
    }
}

/// What a server said against a command, by its first word; its own words are not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ServerError {
    /// `OOM`: `maxmemory` is reached and nothing may be evicted.
    #[error("the store is full")]
    Oom,
    /// `MISCONF`: the last snapshot failed, so it takes no writes.
    #[error("the store takes no writes, since it cannot save its data")]
    Misconf,
    /// `NOREPLICAS`: fewer replicas than `min-replicas-to-write`.
    #[error("the store takes no writes, since too few replicas are there")]
    NoReplicas,
    /// `READONLY`: it is a replica.
    #[error("the store is a read-only replica")]
    ReadOnly,
    /// `MASTERDOWN`: it is a replica, and its master is away.
    #[error("the store is a replica whose master is away")]
    MasterDown,
    /// `LOADING`: it has only just started.
    #[error("the store is loading its data")]
    Loading,
    /// `BUSY`: a script keeps it from everything else.
    #[error("the store is busy with a script")]
    Busy,
    /// `NOAUTH`: it wants a password.
    #[error("the store wants a password")]
    NoAuth,
    /// `WRONGPASS`, and what servers before ACLs say instead.
    #[error("the store refused the user name or password")]
    WrongPass,
    /// A password was sent to a server that has none.
    #[error("the store has no password, and one was sent")]
    NoPasswordSet,
    /// `DENIED`: protected mode.
    #[error("the store takes connections from its own machine alone (protected mode)")]
    Denied,
    /// `NOPERM`: the user's ACL has no such command or key.
    #[error("the store does not allow the user a command or key")]
    NoPerm,
    /// The server has no such database.
    #[error("the store has no such database")]
    NoDatabase,
    /// As many clients are connected as there may be.
    #[error("the store has too many clients")]
    MaxClients,
    /// `MOVED`, `ASK`, `CROSSSLOT`, `CLUSTERDOWN` or `TRYAGAIN`: it is a node of a cluster.
    #[error("the store is a cluster's node")]
    Moved,
    /// `WRONGTYPE`: the key holds another kind of value.
    #[error("a key of the store holds another kind of value")]
    WrongType,
    /// Anything else.
    #[error("the store does not take the command")]
    Other,
}

impl ServerError {
    /// Reads an error's line, without the minus before it.
    pub(crate) fn parse(line: &[u8]) -> Self {
        let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
        match word {
            b"OOM" => Self::Oom,
            b"MISCONF" => Self::Misconf,
            b"NOREPLICAS" => Self::NoReplicas,
            b"READONLY" => Self::ReadOnly,
            b"MASTERDOWN" => Self::MasterDown,
            b"LOADING" => Self::Loading,
            b"BUSY" => Self::Busy,
            b"NOAUTH" => Self::NoAuth,
            b"WRONGPASS" => Self::WrongPass,
            b"DENIED" => Self::Denied,
            b"NOPERM" => Self::NoPerm,
            b"MOVED" | b"ASK" | b"CROSSSLOT" | b"CLUSTERDOWN" | b"TRYAGAIN" => Self::Moved,
            b"WRONGTYPE" => Self::WrongType,
            // What has no word of its own is told by its text (networking.c, acl.c, db.c).
            b"ERR" => {
                let has = |text: &str| memchr::memmem::find(line, text.as_bytes()).is_some();
                if has("max number of clients") {
                    Self::MaxClients
                } else if has("invalid password") {
                    Self::WrongPass
                } else if has("no password is set") || has("without any password configured") {
                    Self::NoPasswordSet
                } else if has("DB index") {
                    Self::NoDatabase
                } else {
                    Self::Other
                }
            }
            _ => Self::Other,
        }
    }

    /// Tells whether it is about the node or the user, not about one command: then it is an error of
    /// the whole question. `None`: of the command alone.
    pub fn condemns(self) -> Option<StoreError> {
        match self {
            Self::ReadOnly | Self::MasterDown => Some(StoreError::ReadOnly(self)),
            Self::Loading | Self::Busy => Some(StoreError::Loading(self)),
            Self::NoAuth | Self::WrongPass | Self::NoPasswordSet | Self::Denied => {
                Some(StoreError::Auth(self))
            }
            Self::NoPerm => Some(StoreError::Acl),
            Self::MaxClients => Some(StoreError::MaxClients),
            Self::NoDatabase | Self::Moved => Some(StoreError::Refused(self)),
            Self::Oom | Self::Misconf | Self::NoReplicas | Self::WrongType | Self::Other => None,
        }
    }

    /// Tells whether it takes no writes for now, while reading works.
    pub fn is_full(self) -> bool {
        matches!(self, Self::Oom | Self::Misconf | Self::NoReplicas)
    }
}

/// Why what came is no reply. Nothing after it on the same connection can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// Not of RESP 2, or not well-formed.
    #[error("the store's reply is not RESP")]
    Malformed,
    /// A line, string, array or nesting beyond the limits, by what it announces.
    #[error("the store's reply is too large")]
    TooLarge,
    /// Bytes behind the last reply that was asked for.
    #[error("the store sent what nobody asked for")]
    Unasked,
}

/// Why a question has no answer. The message is one fixed phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StoreError {
    /// No connection: the name, the route, the port, the path.
    #[error(transparent)]
    Connect(ConnectCause),
    /// The connection ended before the answer was whole.
    #[error("the store closed the connection")]
    Closed,
    /// The operating system reported an error on the connection.
    #[error("the connection to the store failed: {0}")]
    Io(io::ErrorKind),
    /// The store has no place for another client.
    #[error("the store has too many clients")]
    MaxClients,
    /// The connection stands, TLS does not.
    #[error(transparent)]
    Tls(TlsCause),
    /// The time ran out; the phase says in what.
    #[error(transparent)]
    Timeout(Phase),
    /// The store does not take the user name or password, or wants one.
    #[error(transparent)]
    Auth(ServerError),
    /// The user's ACL does not allow a command or key that is needed.
    #[error("the store does not allow the user a command or key")]
    Acl,
    /// It is a replica.
    #[error(transparent)]
    ReadOnly(ServerError),
    /// It is loading its data, or busy.
    #[error(transparent)]
    Loading(ServerError),
    /// It takes no writes: full, or it cannot save.
    #[error(transparent)]
    Full(ServerError),
    /// It is not the kind of store that is configured.
    #[error(transparent)]
    Refused(ServerError),
    /// What came is no reply.
    #[error(transparent)]
    Protocol(Fault),
    /// No kept connection could take it at once; nothing was sent.
    #[error("no connection to the store is free")]
    NoConnection,
}

impl StoreError {
    /// Returns what it counts as.
    pub fn reason(self) -> StoreErrorReason {
        match self {
            Self::Connect(_)
            | Self::Closed
            | Self::Io(_)
            | Self::MaxClients
            | Self::NoConnection => StoreErrorReason::Connect,
            Self::Tls(_) => StoreErrorReason::Tls,
            Self::Timeout(_) => StoreErrorReason::Timeout,
            Self::Auth(_) => StoreErrorReason::Auth,
            Self::Acl => StoreErrorReason::Acl,
            Self::ReadOnly(_) => StoreErrorReason::ReadOnly,
            Self::Loading(_) => StoreErrorReason::Loading,
            Self::Full(_) => StoreErrorReason::Full,
            Self::Refused(ServerError::Moved) => StoreErrorReason::Moved,
            Self::Refused(_) | Self::Protocol(_) => StoreErrorReason::Protocol,
        }
    }

    /// Tells whether the store rests at once, rather than after some failures in a row: nothing that
    /// is asked of it before it, or the configuration, has changed will be answered.
    pub fn rests_at_once(self) -> bool {
        matches!(
            self,
            StoreError::Auth(_) | StoreError::Acl | StoreError::Loading(_) | StoreError::Refused(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_known_by_their_first_word() {
        use ServerError::*;
        for (line, error) in [
            ("OOM command not allowed when used memory > 'maxmemory'.", Oom),
            ("MISCONF Redis is configured to save RDB snapshots, but", Misconf),
            ("READONLY You can't write against a read only replica.", ReadOnly),
            ("MASTERDOWN Link with MASTER is down and", MasterDown),
            ("LOADING Redis is loading the dataset in memory", Loading),
            ("LOADING", Loading),
            ("BUSY Valkey is busy running a script.", Busy),
            ("NOAUTH Authentication required.", NoAuth),
            ("WRONGPASS invalid username-password pair or user is disabled.", WrongPass),
            ("ERR invalid password", WrongPass),
            ("ERR Client sent AUTH, but no password is set", NoPasswordSet),
            (
                "ERR AUTH <password> called without any password configured for the default user.",
                NoPasswordSet,
            ),
            ("NOPERM this user has no permissions to run the 'xadd' command", NoPerm),
            ("DENIED Redis is running in protected mode because", Denied),
            ("MOVED 3999 127.0.0.1:6381", Moved),
            ("CLUSTERDOWN Hash slot not served", Moved),
            ("ERR DB index is out of range", NoDatabase),
            ("ERR invalid DB index", NoDatabase),
            ("ERR max number of clients reached", MaxClients),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", WrongType),
            ("ERR unknown command 'xread'", Other),
            ("OOMPH", Other),
            ("", Other),
        ] {
            assert_eq!(ServerError::parse(line.as_bytes()), error, "{line}");
        }
    }

    #[test]
    fn what_is_shown_has_no_byte_of_the_server_s() {
        let reply = Reply::Array(vec![
            Reply::Bulk(b"hunter2".to_vec()),
            Reply::Simple(b"hunter2".into()),
            Reply::Error(ServerError::parse(b"ERR hunter2")),
            Reply::Integer(4711),
        ]);
        let shown = format!("{reply:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("4711"), "{shown}");
    }
}
