//! The introspection endpoints of a location, in the order they are tried.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;

use phantom_token_engine::client::{Connections, Endpoint, EndpointError};
use phantom_token_engine::directive;
use phantom_token_engine::pace::Pace;
use phantom_token_engine::shared::endpoint::EndpointId;
use phantom_token_engine::shared::health::Limits;
use phantom_token_engine::shared::state::State;

use crate::conf::settings::{
    MSL, Place, Placed, Repeated, inherit, no_variables, positive_time_ms, text,
};
use crate::nginx::command::{Args, Command};
use crate::nginx::parser::{Cf, ConfError, ConfigLine, invalid, number};
use crate::nginx::sys::*;

#[derive(Clone, Default, PartialEq)]
pub(crate) struct Settings {
    endpoints: Repeated<Named>,
}

/// One `phantom_token_introspection_endpoint`.
#[derive(Clone)]
pub(super) struct Named {
    pub(super) endpoint: Arc<Endpoint>,
    /// The URL as written, and where to connect: part of the identity.
    pub(super) identity: Vec<u8>,
    limits: Limits,
    backup: bool,
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        let Self { endpoint: _, identity, limits, backup } = self;
        *identity == other.identity && *limits == other.limits && *backup == other.backup
    }
}

impl Placed<Named> {
    /// What `nginx -t` accepts, with a warning. `unverified` is where certificates are said not to be
    /// verified.
    fn warn_of_doubts(&self, cf: &mut Cf<'_>, unverified: Option<&ConfigLine>, timeout_ms: u64) {
        let Named { endpoint, limits, .. } = &self.value;
        let label = endpoint.label();
        if !endpoint.is_https() && !endpoint.is_loopback() {
            cf.warn_at(
                &self.line,
                format_args!(
                    "tokens and credentials go to \"{label}\" unencrypted: use https in \"phantom_token_introspection_endpoint\" (RFC 7662, section 4)"
                ),
            );
        }
        if let Some(line) = unverified.filter(|_| endpoint.is_https()) {
            cf.warn_at(
                line,
                format_args!(
                    "\"phantom_token_ssl_verify off\": whoever answers for \"{label}\" is believed; use phantom_token_ssl_trusted_certificate"
                ),
            );
        }
        if limits.fail_timeout_ms < timeout_ms && limits.max_fails > 0 {
            cf.warn_at(
                &self.line,
                format_args!(
                    "fail_timeout of \"{label}\" is below phantom_token_timeout: time-outs in a row may never count as one row; write a longer one in \"phantom_token_introspection_endpoint\""
                ),
            );
        }
    }
}

impl Settings {
    /// What `nginx -t` accepts, with a warning.
    pub(super) fn warn_of_doubts(
        &self,
        cf: &mut Cf<'_>,
        unverified: Option<&ConfigLine>,
        timeout_ms: u64,
    ) {
        self.endpoints.placed().for_each(|named| named.warn_of_doubts(cf, unverified, timeout_ms));
    }

    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: endpoints);
    }

    /// These; `None` where there are none.
    pub(super) fn some(&self) -> Option<Self> {
        self.endpoints.is_set().then(|| self.clone())
    }

    /// The label and the line of the first endpoint that `counts`, by whether it is `https`, and is none
    /// of the servers of `others`.
    pub(super) fn foreign_to(
        &self,
        others: &Self,
        counts: impl Fn(bool) -> bool,
    ) -> Option<(&str, &ConfigLine)> {
        let is_foreign = |named: &Named| {
            let same = |other: &Named| origin(&other.endpoint) == origin(&named.endpoint);
            counts(named.endpoint.is_https()) && !others.endpoints.iter().any(same)
        };
        let foreign = self.endpoints.placed().find(|placed| is_foreign(&placed.value))?;
        Some((foreign.value.endpoint.label(), &foreign.line))
    }

    /// The endpoints of the server at `place`, as they are written. `Err` where none is there, or none
    /// but backups.
    pub(super) fn written(&self, place: &Place) -> Result<Vec<&Named>, ConfError> {
        let written: Vec<_> = self.endpoints.iter().collect();
        if written.is_empty() {
            return Err(ConfError::missing(
                "phantom_token_introspection_endpoint",
                place,
                "write the URL of the authorization server's introspection endpoint (RFC 7662)",
            ));
        }
        if written.iter().all(|named| named.backup) {
            return Err(ConfError::Whole(format!(
                "\"phantom_token_introspection_endpoint\" names nothing but backups {place}: leave \"backup\" out in one"
            )));
        }
        Ok(written)
    }
}

/// Whose endpoint it is.
fn origin(endpoint: &Endpoint) -> (bool, String, u16) {
    (endpoint.is_https(), endpoint.host(), endpoint.port())
}

/// The endpoints in the order they are tried: backups last.
pub(super) fn in_order<'a>(written: &[&'a Named]) -> impl Iterator<Item = &'a Named> {
    let (first, backups): (Vec<_>, Vec<_>) = written.iter().partition(|named| !named.backup);
    first.into_iter().chain(backups)
}

/// One endpoint of a location.
pub(crate) struct PolicyEndpoint {
    pub(crate) endpoint: Arc<Endpoint>,
    /// The name of the block it stands in; `None`: in none.
    pub(crate) provider: Option<Rc<str>>,
    /// The worker's idle connections to it.
    pub(crate) connections: Arc<Connections>,
    pub(crate) limits: Limits,
    /// What tells it, as this location calls it, from others of the same label.
    pub(crate) kind: u64,
    /// The most that any location waits for it, of those for which it rests alike.
    pub(crate) patience: Rc<Patience>,
    /// Where its health is kept, once a worker has looked.
    id: OnceCell<Option<EndpointId>>,
    /// The gate of the credentials, once a worker has computed it, where it is the same for all
    /// requests.
    pub(super) gate: OnceCell<u64>,
    /// What is known of the form of Basic credentials is kept under this, likewise.
    pub(super) form: OnceCell<u64>,
    /// The endpoint and the client that asks it, for what is said or limited once for both.
    pub(crate) client_hash: u64,
    /// How long it takes to answer this worker.
    pub(crate) pace: Cell<Pace>,
}

/// How long an endpoint is waited for, in milliseconds.
#[derive(Default)]
pub(crate) struct Patience {
    pub(crate) timeout_ms: Cell<u64>,
    pub(crate) connect_timeout_ms: Cell<u64>,
}

impl Patience {
    pub(super) fn grow(&self, timeout_ms: u64, connect_timeout_ms: u64) {
        for (own, more) in
            [(&self.timeout_ms, timeout_ms), (&self.connect_timeout_ms, connect_timeout_ms)]
        {
            own.set(own.get().max(more));
        }
    }
}

impl PolicyEndpoint {
    pub(super) fn of(
        named: &Named,
        provider: Option<Rc<str>>,
        connections: Arc<Connections>,
        kind: u64,
        patience: Rc<Patience>,
        client_hash: u64,
    ) -> Self {
        Self {
            endpoint: named.endpoint.clone(),
            provider,
            connections,
            limits: named.limits,
            kind,
            patience,
            id: OnceCell::new(),
            gate: OnceCell::new(),
            form: OnceCell::new(),
            client_hash,
            pace: Cell::default(),
        }
    }

    /// Whether this is that endpoint, called in the same way.
    pub(crate) fn is_called_as(&self, endpoint: &Endpoint, kind: u64) -> bool {
        self.kind == kind && self.endpoint.label() == endpoint.label()
    }

    /// Where its health is kept; `None` where there is no place.
    pub(crate) fn id(&self, state: &State) -> Option<EndpointId> {
        *self.id.get_or_init(|| state.endpoints().find(self.endpoint.label(), self.kind))
    }

    /// Its label, and where to connect in place of that.
    pub(super) fn place(&self) -> [String; 2] {
        [self.endpoint.label().to_owned(), self.endpoint.connect().unwrap_or_default()]
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[Command::new(
    c"phantom_token_introspection_endpoint",
    MSL | NGX_CONF_1MORE,
    "URL [max_fails=NUMBER] [fail_timeout=TIME] [backup] [connect=HOST:PORT]",
    endpoint,
)];

fn endpoint(cf: &mut Cf<'_>, settings: &mut Settings, args: Args<'_>) -> Result<(), ConfError> {
    args.iter().try_for_each(|arg| no_variables(arg))?;
    let url = text(args[0])?;
    let mut connect = None;
    let mut limits = Limits::OF_ENDPOINT;
    let mut backup = false;

    for (nth, arg) in args.iter().enumerate().skip(1) {
        let (name, value) = directive::parameter(arg);
        if args[1..nth].iter().any(|other| directive::parameter(other).0 == name) {
            return Err(invalid(arg, "write it once"));
        }
        match name {
            b"max_fails" => limits.max_fails = u32::try_from(number(value)?).unwrap_or(u32::MAX),
            b"fail_timeout" => limits.fail_timeout_ms = positive_time_ms(value)?,
            b"connect" => connect = Some(text(value)?),
            b"backup" if arg.len() == name.len() => backup = true,
            _ => {
                return Err(ConfError::Directive(format!(
                    "has an unknown parameter \"{}\": write max_fails=, fail_timeout=, backup or connect=",
                    String::from_utf8_lossy(arg)
                )));
            }
        }
    }

    let endpoint = Endpoint::parse(url, connect).map_err(|error| match error {
        EndpointError::Connect => invalid(connect.unwrap_or_default().as_bytes(), error),
        // Whose secret stands in it must not be shown.
        _ if url.contains('@') => ConfError::Directive(format!("has an invalid value: {error}")),
        _ => invalid(args[0], error),
    })?;
    warn_of_url(cf, url);
    let mut identity = url.as_bytes().to_vec();
    identity.push(0);
    identity.extend_from_slice(connect.unwrap_or_default().as_bytes());
    if settings.endpoints.iter().any(|known| known.identity == identity) {
        cf.warn_here(format_args!(
            "\"phantom_token_introspection_endpoint\" names \"{}\" a second time: write another for failover, or leave it out",
            endpoint.label()
        ));
    }
    settings.endpoints.push(cf, Named { endpoint: Arc::new(endpoint), identity, limits, backup });
    Ok(())
}

/// Warns of the URL of something else.
fn warn_of_url(cf: &mut Cf<'_>, url: &str) {
    let (_, rest) = url.split_once("://").unwrap_or_default();
    let path = rest.split('?').next().unwrap_or_default().trim_end_matches('/');
    let doubt = if url.contains("/.well-known/") {
        "that of the server's metadata: write the \"introspection_endpoint\" that stands in it"
    } else if !rest.contains(['/', '?']) {
        "a server's without a path: write the whole URL of its introspection endpoint"
    } else if ["/token", "/userinfo"].iter().any(|end| path.ends_with(end)) {
        "of another endpoint of the server: write that of its introspection endpoint"
    } else {
        return;
    };
    cf.warn_here(format_args!(
        "\"phantom_token_introspection_endpoint\" has a URL that seems to be {doubt}"
    ));
}
