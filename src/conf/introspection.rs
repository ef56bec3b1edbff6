//! How an authorization server is asked: the settings that say what the server is, and what is made of
//! them together, once for all locations that say the same.

use std::rc::Rc;

use phantom_token_engine::answer::Forward;
use phantom_token_engine::client::{ClientAuth, Endpoint};
use phantom_token_engine::shared::state::State;
use phantom_token_engine::token::key::hash_of;

use crate::conf::credentials::Credentials;
use crate::conf::endpoints::{self, Named, PolicyEndpoint};
use crate::conf::request::{Extras, Values};
use crate::conf::settings::{Place, inherit, parts};
use crate::conf::tls::Tls;
use crate::conf::{assertion, cache, calls, clock, credentials, issuer, request, tls};
use crate::nginx::parser::{Cf, ConfError};

/// What an authorization server is and how it is asked, apart from what a location demands. Equal ones
/// are asked as one.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Server {
    pub(super) endpoints: endpoints::Settings,
    pub(super) credentials: credentials::Settings,
    pub(super) assertion: assertion::Settings,
    pub(super) request: request::Settings,
    pub(super) tls: tls::Settings,
    pub(super) calls: calls::Settings,
    pub(super) cache_control: cache::ControlSettings,
    pub(super) issuer: issuer::Settings,
    pub(super) clock: clock::Settings,
}

impl Server {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: endpoints, credentials, assertion, request, tls, calls, cache_control, issuer, clock);
    }
}

/// How the authorization server is asked.
pub(crate) struct Introspection {
    /// The name of its block; `None` where it has none.
    pub(crate) provider: Option<Rc<str>>,
    /// In the order they are tried.
    pub(crate) endpoints: Vec<PolicyEndpoint>,
    pub(crate) credentials: Credentials,
    pub(crate) extras: Extras,
    /// One must be the token's, where there are any.
    pub(crate) issuers: Rc<[Box<str>]>,
    /// How far the server's clock may be ahead of ours, in seconds.
    pub(crate) clock_skew_secs: u64,
    pub(super) identity: Identity,
    /// The media type that is asked for.
    pub(super) accept: Vec<u8>,
    /// The client: its id and certificate.
    client: Vec<u8>,
    /// What else is the same in every call and that a server may refuse it by.
    caller: Vec<u8>,
}

impl Introspection {
    /// Checks what is said of a server, and prepares it for locations that forward so.
    pub(super) fn of(
        cf: &mut Cf<'_>,
        server: &Server,
        forward: Forward,
        place: &Place,
    ) -> Result<Self, ConfError> {
        let written = server.endpoints.written(place)?;
        let accept = server.request.accept(forward);
        let issuers = server.issuer.all();
        let Server { credentials, assertion, .. } = server;
        let certificate = server.tls.has_certificate();
        let credentials =
            Credentials::of(credentials, assertion, certificate, accept, &issuers, place)?;
        let extras = Extras::of(&server.request, &credentials, place)?;
        let https = written.iter().any(|named| named.endpoint.is_https());
        let tls = Tls::of(cf, &server.tls, https, place)?;
        let identity = Identity::of(server, &written, &credentials, accept, &extras, &tls);
        let alone = written.len() == 1;
        let provider = place.provider();
        let calls = Calls { alone, provider, credentials: &credentials, tls: &tls };
        let endpoints =
            endpoints::in_order(&written).map(|named| calls.endpoint(cf, named)).collect();
        server.calls.warn_of_doubts(cf);
        let unverified = server.tls.verify_place().filter(|_| !tls.verify);
        server.endpoints.warn_of_doubts(cf, unverified, server.calls.timeout_ms());
        let client = parts(&[&credentials.id, tls.certificate.as_bytes()]);
        // Of extra headers and parameters which are which, and which are part of the cache key.
        let [headers, params] = [&extras.headers, &extras.params]
            .map(|extras| extras.iter().map(|extra| u8::from(extra.keyed)).collect::<Vec<_>>());
        let auth = [credentials.auth as u8];
        let assertions = credentials.assertions.as_ref().map_or(&[][..], |made| &made.shown);
        let fixed = [tls.key.as_bytes(), &auth, assertions, accept, extras.hint()];
        let caller = parts(&[&fixed[..], &[&headers, &params]].concat());
        Ok(Self {
            provider: provider.cloned(),
            endpoints,
            credentials,
            extras,
            issuers,
            clock_skew_secs: server.clock.skew_secs(),
            identity,
            accept: accept.to_vec(),
            client,
            caller,
        })
    }

    /// The directives of this server, of which it was made or of an equal one, have an effect.
    pub(super) fn put_in_force(&self, cf: &mut Cf<'_>, server: &Server) {
        if self.credentials.auth != ClientAuth::None {
            let line = server.credentials.secret_place();
            cf.put_in_force("phantom_token_client_secret", line);
            cf.put_in_force("phantom_token_client_secret_file", line);
        }
        if self.endpoints.iter().any(|one| one.endpoint.is_https()) {
            server.tls.put_in_force(cf);
        }
    }

    /// A location that waits so long has calls made.
    pub(super) fn is_used(&self, timeout_ms: u64, connect_timeout_ms: u64) {
        for endpoint in &self.endpoints {
            endpoint.patience.grow(timeout_ms, connect_timeout_ms);
        }
    }

    /// The gate of the client's credentials at an endpoint, for requests with these values.
    pub(crate) fn gate(
        &self,
        state: &State,
        endpoint: &PolicyEndpoint,
        headers: &Values,
        params: &Values,
    ) -> u64 {
        let hash = || {
            let [label, connect] = endpoint.place();
            let fixed = [label.as_bytes(), connect.as_bytes(), &self.client];
            let fixed = fixed.into_iter().chain([self.credentials.secret(), &self.caller]);
            let names =
                self.extras.all().flat_map(|extra| [extra.name.as_bytes(), extra.value.source()]);
            // The values of those that vary, which are the keyed ones.
            let values = self.extras.varying([headers, params]);
            state.gate_hash(fixed.chain(names).chain(values))
        };
        if self.gate_varies() { hash() } else { *endpoint.gate.get_or_init(hash) }
    }

    /// Whether requests differ in values that the answer depends on.
    pub(crate) fn gate_varies(&self) -> bool {
        self.extras.vary()
    }

    /// What is known of the form of Basic credentials at an endpoint is kept under this.
    pub(crate) fn form(&self, state: &State, endpoint: &PolicyEndpoint) -> u64 {
        *endpoint.form.get_or_init(|| {
            let [label, connect] = endpoint.place();
            let secret = self.credentials.secret();
            state.form_hash([label.as_bytes(), connect.as_bytes(), &self.client, secret])
        })
    }
}

/// What all calls to a location's endpoints have in common.
struct Calls<'a> {
    /// There is one endpoint.
    alone: bool,
    /// The name of their block.
    provider: Option<&'a Rc<str>>,
    credentials: &'a Credentials,
    tls: &'a Tls,
}

impl Calls<'_> {
    fn endpoint(&self, cf: &mut Cf<'_>, named: &Named) -> PolicyEndpoint {
        let main = cf.main_conf();
        let kind = self.kind(&named.endpoint);
        let patience = main.patience(&named.endpoint, kind);
        let connections = main.servers.connections(&named.endpoint, &self.tls.client);
        let client_hash = self.client_hash(&named.endpoint);
        PolicyEndpoint::of(named, self.provider.cloned(), connections, kind, patience, client_hash)
    }

    /// What may make a call fail for one location and not for another, but for time limits: the
    /// gateway's own calls have the most patience that any has.
    fn kind(&self, endpoint: &Endpoint) -> u64 {
        hash_of(&[
            endpoint.connect().unwrap_or_default().as_bytes(),
            &[u8::from(self.tls.verify), u8::from(self.alone)],
            self.tls.trusted.as_bytes(),
            self.tls.certificate.as_bytes(),
            self.tls.key.as_bytes(),
        ])
    }

    /// Who asks whom: what one server says of one client's credentials.
    fn client_hash(&self, endpoint: &Endpoint) -> u64 {
        hash_of(&[
            endpoint.label().as_bytes(),
            endpoint.connect().as_deref().unwrap_or_default().as_bytes(),
            &self.credentials.id,
            self.tls.certificate.as_bytes(),
        ])
    }
}

/// What makes two answers to one token different, but for what a location forwards and for keyed headers'
/// and parameters' values. A block's name is not in it: who renames it keeps the answers.
pub(super) struct Identity {
    bytes: Vec<u8>,
    /// The same for a fleet of gateways: files of one name need not be one file there.
    of_fleet: Vec<u8>,
}

impl Identity {
    fn of(
        server: &Server,
        written: &[&Named],
        credentials: &Credentials,
        accept: &[u8],
        extras: &Extras,
        tls: &Tls,
    ) -> Self {
        let mut identity = Self { bytes: Vec::new(), of_fleet: Vec::new() };
        for named in written {
            identity.add(b'E', &named.identity);
        }
        identity.add(b'C', &credentials.id);
        identity.add(b'M', &[credentials.auth as u8]);
        identity.add(b'A', accept);
        identity.add(b'V', &[u8::from(tls.verify)]);
        // What one location may not keep, another must not find.
        identity.add(b'S', &[server.cache_control.policy() as u8]);
        push(&mut identity.bytes, b'R', tls.trusted.as_bytes());
        push(&mut identity.of_fleet, b'R', tls.trusted_digest.as_bytes());
        identity.add(b'K', tls.certificate.as_bytes());
        identity.add(b'T', extras.hint());
        for (tag, extras) in [(b'H', &extras.headers), (b'P', &extras.params)] {
            for extra in extras.iter().filter(|extra| extra.keyed) {
                identity.add(tag, extra.name.as_bytes());
            }
        }
        identity
    }

    fn add(&mut self, tag: u8, part: &[u8]) {
        push(&mut self.bytes, tag, part);
        push(&mut self.of_fleet, tag, part);
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn of_fleet(&self) -> &[u8] {
        &self.of_fleet
    }
}

fn push(identity: &mut Vec<u8>, tag: u8, part: &[u8]) {
    identity.push(tag);
    identity.extend(parts(&[part]));
}
