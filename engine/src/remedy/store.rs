//! What to do about the store of a fleet, by the cause: in the words of its block.

use std::borrow::Cow;
use std::io::ErrorKind;

use super::{of_connect, of_tls};
use crate::client::{ConnectCause, Phase, TlsCause};
use crate::store::address::Reach;
use crate::store::reply::Fault;
use crate::store::{ServerError, StoreError};

/// Of something that answers, and is no store.
const NO_STORE: &str = "check that \"server\" names a Valkey or Redis server, version 5 or later";

/// Says what to do where a store that is reached so did not do what it was asked.
pub fn of_store(error: StoreError, reach: Reach) -> Cow<'static, str> {
    let words = match error {
        StoreError::Connect(cause) => of_store_connect(cause, reach),
        StoreError::Tls(cause) => return of_store_tls(cause),
        StoreError::Timeout(phase) => of_store_timeout(phase),
        // As a server ends it that waits for TLS.
        StoreError::Closed | StoreError::Io(_) if reach == Reach::Plain => {
            "check that it runs and can be reached from here: it, a load balancer or a firewall ends connections; write rediss:// in \"server\" where it speaks TLS"
        }
        StoreError::Closed | StoreError::Io(_) => {
            "check that it runs and can be reached from here: it, a load balancer or a firewall ends connections"
        }
        StoreError::MaxClients => {
            "raise its maxclients, or write fewer connections in phantom_token_store"
        }
        StoreError::NoConnection => "write more connections in phantom_token_store",
        StoreError::Acl => {
            "give the user the commands and keys that the documentation lists; ACL LOG there shows what it lacks"
        }
        StoreError::Auth(error)
        | StoreError::ReadOnly(error)
        | StoreError::Loading(error)
        | StoreError::Full(error)
        | StoreError::Refused(error) => of_server(error),
        StoreError::Protocol(Fault::Malformed) if reach == Reach::Plain => {
            "check that \"server\" names a Valkey or Redis server: its host and port; write rediss:// where it speaks TLS"
        }
        StoreError::Protocol(Fault::Malformed) => {
            "check that \"server\" names a Valkey or Redis server: its host and port"
        }
        StoreError::Protocol(Fault::TooLarge | Fault::Unasked) => {
            "see that nobody else writes to its keys, and that no proxy in front of it mixes connections up"
        }
    };
    Cow::Borrowed(words)
}

fn of_store_connect(cause: ConnectCause, reach: Reach) -> &'static str {
    match (cause, reach) {
        (ConnectCause::HostNotFound, _) => {
            "check the host in \"server\", and this machine's /etc/resolv.conf and /etc/hosts"
        }
        (ConnectCause::Io(ErrorKind::NotFound), Reach::Socket) => {
            "check that it runs, and the path in \"server\": unixsocket in its configuration"
        }
        (ConnectCause::Io(ErrorKind::PermissionDenied), Reach::Socket) => {
            "let NGINX's user write to its socket: unixsocketperm 770 in its configuration, and its group"
        }
        (ConnectCause::Refused, Reach::Socket) => "check that it runs",
        _ => of_connect(cause),
    }
}

fn of_store_tls(cause: TlsCause) -> Cow<'static, str> {
    let own = match cause {
        TlsCause::WrongName => {
            "write a name the certificate is for into \"server\", or as ssl_name beside it"
        }
        TlsCause::UnknownName => {
            "check the host in \"server\" and ssl_name: it has no site of this name"
        }
        TlsCause::NotTls => {
            "write redis:// in \"server\", or the port where it speaks TLS (tls-port in its configuration)"
        }
        TlsCause::Closed => {
            "check host and port in \"server\": tls-port in its configuration; if they are right, see its own log"
        }
        TlsCause::Incompatible => {
            "have it speak TLS 1.2 or 1.3, with an ECDHE suite of AES-GCM or ChaCha20-Poly1305"
        }
        // As at an authorization server.
        _ => return Cow::Owned(of_tls(cause).replace("phantom_token_ssl_", "ssl_")),
    };
    Cow::Borrowed(own)
}

fn of_store_timeout(phase: Phase) -> &'static str {
    match phase {
        Phase::Start => {
            "all connections were in use: write more connections in phantom_token_store, or see why it is slow"
        }
        Phase::Resolve => of_connect(ConnectCause::NoResolver),
        Phase::Connect => {
            "it is slow or cannot be reached: check host, port, route and firewall; see timeout in phantom_token_store"
        }
        Phase::Tls => {
            "it is slow, or speaks no TLS on this port; see timeout in phantom_token_store"
        }
        Phase::Send | Phase::Wait | Phase::Read => {
            "it is slow or cannot be reached: see timeout in phantom_token_store"
        }
    }
}

fn of_server(error: ServerError) -> &'static str {
    match error {
        ServerError::NoAuth => {
            "write password_file in phantom_token_store, and user where it has one"
        }
        ServerError::WrongPass => "check user and password_file in phantom_token_store",
        ServerError::NoPasswordSet => {
            "leave password_file out of phantom_token_store, or give its user a password"
        }
        ServerError::Denied => "give it a password, or set its protected-mode no",
        ServerError::ReadOnly => "name the server that takes writes, not its replica",
        ServerError::MasterDown => {
            "name the server that takes writes, not its replica; this one's master is away"
        }
        ServerError::Loading => "it answers once it has read its data",
        ServerError::Busy => "end the script there with SCRIPT KILL, and run it elsewhere",
        ServerError::Oom => "give it more memory, or let it evict; see its own log",
        ServerError::Misconf => "see the disk that it saves to, and its own log",
        ServerError::NoReplicas => {
            "bring its replicas back, or lower min-replicas-to-write in its configuration"
        }
        ServerError::NoDatabase => {
            "write a database that it has behind the URL in \"server\", or none: databases in its configuration"
        }
        ServerError::Moved => "name a server that is no node of a Cluster",
        ServerError::WrongType => {
            "something else has these keys: write another prefix in phantom_token_store, or name a store of the fleet's own"
        }
        ServerError::MaxClients | ServerError::NoPerm | ServerError::Other => NO_STORE,
    }
}
