//! What a location with `phantom_token on` makes of its settings: checked as a whole, and ready for
//! requests.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use phantom_token_engine::answer::Forward;
use phantom_token_engine::answer::nature::Accepts;
use phantom_token_engine::client::{Common, Connections, Endpoint};
use phantom_token_engine::http::form;
use phantom_token_engine::lifetime::CacheControlPolicy;
use phantom_token_engine::pace::Pace;
use phantom_token_engine::shared::endpoint::EndpointId;
use phantom_token_engine::shared::health::Limits;
use phantom_token_engine::shared::state::State;
use phantom_token_engine::token::bearer::TokenSyntax;
use phantom_token_engine::token::challenge::Challenge;
use phantom_token_engine::token::key::{HashKey, IdentityHash, Key, hash_of};
use zeroize::Zeroizing;

use crate::conf::cache::DEFAULT_ZONE;
use crate::conf::pem::TlsFiles;
use crate::conf::{
    AllowOptions, BoundTokens, CacheSetting, ClientAuth, Extra, LocConf, MainConf, Secret, Switch,
};
use crate::nginx::parser::{Cf, ComplexValue, ConfError, ConfigLine};
use crate::nginx::sys::*;
use crate::nginx::zone::ZoneRef;

/// Values of extra headers or parameters, in their order. Credentials may be among them.
pub(crate) type Values = Vec<Zeroizing<Vec<u8>>>;

const DEFAULT_REALM: &[u8] = b"api";
const DEFAULT_ACCEPT: &[u8] = b"application/jwt";
const CONNECT_TIMEOUT_MS: u64 = 2_000;
const TIMEOUT_MS: u64 = 6_000;
const CACHE_VALID_MS: u64 = 300_000;
const CACHE_INACTIVE_VALID_MS: u64 = 1_000;

/// What a request of this location is judged by.
pub(crate) struct Policy {
    /// Index of the variable that holds the token; `None`: the `Authorization` header.
    pub(crate) token: Option<usize>,
    pub(crate) syntax: TokenSyntax,
    pub(crate) forward: Forward,
    /// Required scope, single spaces between its values; empty: none.
    pub(crate) scope: Rc<Vec<u8>>,
    pub(crate) challenge: Challenge,
    pub(crate) allow_options: AllowOptions,
    pub(crate) bypass: Rc<Vec<ComplexValue>>,
    pub(crate) cache_bypass: Rc<Vec<ComplexValue>>,
    pub(crate) bound_tokens: BoundTokens,
    pub(crate) kind: Accepts,
    pub(crate) introspection: Introspection,
    /// Where answers are kept; `None`: nowhere.
    pub(crate) zone: Option<ZoneRef>,
    pub(crate) cache: CacheTimes,
    /// From the moment a request asks, in milliseconds.
    pub(crate) timeout_ms: u64,
    pub(crate) connect_timeout: Duration,
    pub(crate) thread_pool: *mut ngx_thread_pool_t,
    /// H(identity) of what does not vary from request to request, once a worker has computed it.
    identity_hash: OnceCell<IdentityHash>,
}

/// How long answers are kept, in milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct CacheTimes {
    pub(crate) valid_ms: u64,
    pub(crate) inactive_ms: u64,
    pub(crate) stale_ms: u64,
    pub(crate) control: CacheControlPolicy,
}

/// How the authorization server is asked.
pub(crate) struct Introspection {
    pub(crate) endpoints: Vec<PolicyEndpoint>,
    /// The client's credentials and what else every call has in its header.
    pub(crate) common: Common,
    /// The same with Basic credentials as they are, where that differs and may be what the server
    /// takes.
    pub(crate) common_raw: Option<Common>,
    /// `client_id` and `client_secret` in the body (`phantom_token_client_auth post`).
    pub(crate) form_credentials: Option<(Rc<Vec<u8>>, Rc<Secret>)>,
    pub(crate) token_type_hint: Option<Rc<Vec<u8>>>,
    pub(crate) headers: Rc<Vec<Extra>>,
    pub(crate) params: Rc<Vec<Extra>>,
    /// What to say when the credentials are refused.
    pub(crate) hints: Hints,
    /// The client: its id and certificate.
    client: Vec<u8>,
    secret: Option<Rc<Secret>>,
    /// What else is the same in every call and that a server may refuse it by.
    caller: Vec<u8>,
    /// What makes two answers to one token different, but for keyed headers and parameters.
    identity: Vec<u8>,
}

/// What may be wrong with credentials that are refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hints {
    /// Basic credentials are form-urlencoded, which changes them.
    pub(crate) encoded: bool,
    /// They are not, and that would change them.
    pub(crate) raw: bool,
    /// A client certificate is sent.
    pub(crate) certificate: bool,
}

/// One endpoint of a location, in the order they are tried.
pub(crate) struct PolicyEndpoint {
    pub(crate) endpoint: Arc<Endpoint>,
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
    gate: OnceCell<u64>,
    /// What is known of the form of Basic credentials is kept under this, likewise.
    form: OnceCell<u64>,
    /// The endpoint and the client that asks it, for what is said or limited once for both.
    pub(crate) client_hash: u64,
    /// How long it takes to answer this worker.
    pub(crate) pace: Cell<Pace>,
}

/// How long an endpoint is waited for.
#[derive(Clone)]
pub(crate) struct Patience {
    pub(crate) timeout: Cell<Duration>,
    pub(crate) connect: Cell<Duration>,
}

impl Patience {
    fn grow(&self, other: &Self) {
        for (own, other) in [(&self.timeout, &other.timeout), (&self.connect, &other.connect)] {
            own.set(own.get().max(other.get()));
        }
    }
}

impl MainConf {
    /// How long an endpoint of this kind is waited for, now that one more location does.
    fn patience(&mut self, endpoint: &Endpoint, kind: u64, more: &Patience) -> Rc<Patience> {
        let known = self.endpoints().find(|known| known.is_called_as(endpoint, kind));
        known.map_or_else(
            || Rc::new(more.clone()),
            |known| {
                known.patience.grow(more);
                known.patience.clone()
            },
        )
    }

    /// Adds the endpoints of a location that are not known yet.
    pub(crate) fn know_endpoints(&mut self, policy: &Rc<Policy>) {
        for (index, endpoint) in policy.introspection.endpoints.iter().enumerate() {
            let mut known = self.endpoints();
            if !known.any(|known| known.is_called_as(&endpoint.endpoint, endpoint.kind)) {
                drop(known);
                self.endpoints.push((policy.clone(), index));
            }
        }
    }

    /// All endpoints of locations that are on, each once for each way it is called.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &PolicyEndpoint> {
        self.endpoints.iter().map(|(policy, index)| &policy.introspection.endpoints[*index])
    }
}

impl PolicyEndpoint {
    /// Whether this is that endpoint, called in the same way.
    pub(crate) fn is_called_as(&self, endpoint: &Endpoint, kind: u64) -> bool {
        self.kind == kind && self.endpoint.label() == endpoint.label()
    }

    /// Where its health is kept; `None` where there is no place.
    pub(crate) fn id(&self, state: &State) -> Option<EndpointId> {
        *self.id.get_or_init(|| state.endpoints().find(self.endpoint.label(), self.kind))
    }

    fn place(&self) -> [String; 2] {
        [self.endpoint.label().to_owned(), self.endpoint.connect().unwrap_or_default()]
    }
}

impl Policy {
    /// Checks what belongs together and prepares it.
    pub(crate) fn prepare(
        cf: &mut Cf<'_>,
        conf: &LocConf,
        switch: &Switch,
    ) -> Result<Self, ConfError> {
        let place = &switch.line;
        let introspection = Introspection::prepare(cf, conf, place)?;

        let scope = conf.scope.clone().unwrap_or_default();
        let realm = conf.realm.as_ref().map_or(DEFAULT_REALM, |realm| realm);
        let resource_metadata = conf.resource_metadata.as_ref().map(|url| &url[..]);
        let challenge = Challenge::new(
            Some(realm),
            Some(&scope[..]).filter(|scope| !scope.is_empty()),
            resource_metadata,
        )
        .map_err(|error| {
            ConfError::Whole(format!("{error}, for \"phantom_token on\" in {place}"))
        })?;

        let timeout_ms = conf.timeout.unwrap_or(TIMEOUT_MS);
        let thread_pool = cf.thread_pool(conf.thread_pool.as_ref().map(|name| &name[..]))?;
        warn_of_doubts(cf, conf, &introspection, timeout_ms);

        cf.use_state_zone()?;
        cf.http_authorization()?;

        Ok(Self {
            token: switch.token,
            syntax: conf.token_syntax.unwrap_or(TokenSyntax::B64token),
            forward: conf.forward.unwrap_or(Forward::Jwt),
            scope,
            challenge,
            allow_options: conf.allow_options.unwrap_or(AllowOptions::On),
            bypass: conf.bypass.clone().unwrap_or_default(),
            cache_bypass: conf.cache_bypass.clone().unwrap_or_default(),
            bound_tokens: conf.bound_tokens.unwrap_or(BoundTokens::Reject),
            kind: conf.kind.unwrap_or_default(),
            introspection,
            zone: match &conf.cache {
                Some(CacheSetting::Off) => None,
                Some(CacheSetting::Named { name, line }) => Some(cf.cache_zone(name, line)?),
                None => Some(cf.cache_zone(DEFAULT_ZONE, place)?),
            },
            cache: CacheTimes {
                valid_ms: conf.cache_valid.unwrap_or(CACHE_VALID_MS),
                inactive_ms: conf.cache_inactive_valid.unwrap_or(CACHE_INACTIVE_VALID_MS),
                stale_ms: conf.cache_stale.unwrap_or(0),
                control: conf.cache_control.unwrap_or(CacheControlPolicy::Cap),
            },
            timeout_ms,
            connect_timeout: connect_timeout(conf),
            thread_pool,
            identity_hash: OnceCell::new(),
        })
    }

    /// H(token) ‖ H(identity), with those of the extra headers' and parameters' values that the answer
    /// may depend on.
    pub(crate) fn key(&self, hash_key: &HashKey, token: &[u8], values: [&Values; 2]) -> Key {
        let Introspection { headers, params, .. } = &self.introspection;
        if headers.iter().chain(params.iter()).any(|extra| extra.keyed) {
            return self.key_as_of(self, hash_key, token, values);
        }
        let identity = || self.identity_as_of(self, hash_key, values);
        let identity = *self.identity_hash.get_or_init(identity);
        Key { token: hash_key.token(token), identity }
    }

    /// What it would be if this location used the zone of another.
    pub(crate) fn key_as_of(
        &self,
        other: &Policy,
        hash_key: &HashKey,
        token: &[u8],
        values: [&Values; 2],
    ) -> Key {
        let identity = self.identity_as_of(other, hash_key, values);
        Key { token: hash_key.token(token), identity }
    }

    fn identity_as_of(
        &self,
        other: &Policy,
        hash_key: &HashKey,
        [header_values, param_values]: [&Values; 2],
    ) -> IdentityHash {
        let Introspection { headers, params, identity, .. } = &self.introspection;
        // Zones stay apart in a worker's own cache and among its flights, too.
        let zone = other.zone.as_ref().map_or(&[][..], |zone| zone.name().as_bytes());
        let extras = headers.iter().zip(header_values).chain(params.iter().zip(param_values));
        let keyed = extras.filter(|(extra, _)| extra.keyed).map(|(_, value)| &value[..]);
        hash_key.identity([zone, &identity[..]].into_iter().chain(keyed))
    }
}

impl Introspection {
    /// The gate of the client's credentials at an endpoint, for requests with these values.
    pub(crate) fn gate(
        &self,
        state: &State,
        endpoint: &PolicyEndpoint,
        headers: &Values,
        params: &Values,
    ) -> u64 {
        let extras = || self.headers.iter().chain(self.params.iter());
        let hash = || {
            let [label, connect] = endpoint.place();
            let fixed = [label.as_bytes(), connect.as_bytes(), &self.client, self.secret()];
            let names = extras().flat_map(|extra| [extra.name.as_bytes(), extra.source()]);
            // The values of those that vary, which are the keyed ones.
            let values = extras().zip(headers.iter().chain(params));
            let values = values.filter(|(extra, _)| extra.varies()).map(|(_, value)| &value[..]);
            state.gate_hash(fixed.into_iter().chain([&self.caller[..]]).chain(names).chain(values))
        };
        if self.gate_varies() { hash() } else { *endpoint.gate.get_or_init(hash) }
    }

    fn secret(&self) -> &[u8] {
        self.secret.as_ref().map_or(&[], |secret| &secret.bytes)
    }

    /// Whether requests differ in values that the answer depends on.
    pub(crate) fn gate_varies(&self) -> bool {
        self.headers.iter().chain(self.params.iter()).any(Extra::varies)
    }

    /// What is known of the form of Basic credentials at an endpoint is kept under this.
    pub(crate) fn form(&self, state: &State, endpoint: &PolicyEndpoint) -> u64 {
        *endpoint.form.get_or_init(|| {
            let [label, connect] = endpoint.place();
            state.form_hash([label.as_bytes(), connect.as_bytes(), &self.client, self.secret()])
        })
    }

    fn prepare(cf: &mut Cf<'_>, conf: &LocConf, place: &ConfigLine) -> Result<Self, ConfError> {
        let missing = |directive: &str, write: &str| {
            ConfError::Whole(format!(
                "\"{directive}\" is missing for \"phantom_token on\" in {place}: {write}"
            ))
        };

        let settings = conf.endpoints.clone().unwrap_or_default();
        if settings.is_empty() {
            return Err(missing(
                "phantom_token_introspection_endpoint",
                "write the URL of the authorization server's introspection endpoint (RFC 7662)",
            ));
        }
        if settings.iter().all(|setting| setting.backup) {
            return Err(ConfError::Whole(format!(
                "\"phantom_token_introspection_endpoint\" names nothing but backups for \"phantom_token on\" in {place}: take \"backup\" from one"
            )));
        }

        let auth = conf.client_auth.unwrap_or(ClientAuth::Basic);
        let empty = Rc::new(Vec::new());
        let (id, secret) = match (&conf.client_id, &conf.client_secret) {
            (id, _) if auth == ClientAuth::None => (id.clone().unwrap_or(empty), None),
            (None, _) => {
                return Err(missing(
                    "phantom_token_client_id",
                    "write the client id that introspects, or phantom_token_client_auth none",
                ));
            }
            (Some(_), None) => {
                return Err(missing(
                    "phantom_token_client_secret",
                    "write it, or phantom_token_client_secret_file, or phantom_token_client_auth none",
                ));
            }
            (Some(id), Some(secret)) => (id.clone(), Some(secret.clone())),
        };
        let mut hints =
            Hints { encoded: false, raw: false, certificate: conf.ssl_certificate.is_some() };
        let mut raw = None;
        let (authorization, form_credentials) = match (auth, &secret) {
            (ClientAuth::Basic, Some(secret)) => {
                hints.encoded = form::encoding_changes(&id, &secret.bytes);
                // An id with a colon cannot be sent as it is.
                raw = form::basic_raw(&id, &secret.bytes).ok().filter(|_| hints.encoded);
                (Some(form::basic(&id, &secret.bytes)), None)
            }
            (ClientAuth::BasicRaw, Some(secret)) => {
                hints.raw = form::encoding_changes(&id, &secret.bytes);
                let basic = form::basic_raw(&id, &secret.bytes).map_err(|error| {
                    ConfError::Whole(format!(
                        "\"phantom_token_client_id\": {error}, for \"phantom_token on\" in {place}"
                    ))
                })?;
                (Some(basic), None)
            }
            (ClientAuth::Post, Some(secret)) => (None, Some((id.clone(), secret.clone()))),
            _ => (None, None),
        };

        let headers = conf.headers.clone().unwrap_or_default();
        let params = conf.params.clone().unwrap_or_default();
        if auth != ClientAuth::None
            && headers.iter().any(|header| header.name.eq_ignore_ascii_case("authorization"))
        {
            return Err(ConfError::Whole(format!(
                "\"phantom_token_introspection_header\" sets Authorization beside the client's own credentials: write phantom_token_client_auth none, for \"phantom_token on\" in {place}"
            )));
        }
        let own: &[&str] = if auth == ClientAuth::Post {
            &["client_id", "client_secret", "token_type_hint"]
        } else {
            &["token_type_hint"]
        };
        if let Some(param) = params.iter().find(|param| {
            own.contains(&&*param.name)
                && (&*param.name != "token_type_hint" || conf.token_type_hint.is_some())
        }) {
            return Err(ConfError::Whole(format!(
                "\"phantom_token_introspection_param {}\" is set by the module already, for \"phantom_token on\" in {place}",
                param.name
            )));
        }

        let verify = conf.ssl_verify.unwrap_or(true);
        if conf.ssl_certificate.is_some() != conf.ssl_certificate_key.is_some() {
            let (there, absent) = if conf.ssl_certificate.is_some() {
                ("phantom_token_ssl_certificate", "phantom_token_ssl_certificate_key")
            } else {
                ("phantom_token_ssl_certificate_key", "phantom_token_ssl_certificate")
            };
            return Err(ConfError::Whole(format!(
                "\"{absent}\" is missing beside \"{there}\" for \"phantom_token on\" in {place}"
            )));
        }
        let https = settings.iter().any(|setting| setting.endpoint.is_https());
        // Roots are read only where a connection will want them.
        let files = TlsFiles {
            verify: verify && https,
            trusted: conf.ssl_trusted_certificate.as_ref(),
            certificate: conf.ssl_certificate.as_ref(),
            key: conf.ssl_certificate_key.as_ref(),
        };
        let tls = cf.main_conf().tls.get(&files).map_err(|error| {
            ConfError::Whole(format!("{error}, for \"phantom_token on\" in {place}"))
        })?;

        let accept = conf.accept.as_ref().map_or(DEFAULT_ACCEPT, |accept| accept);
        let common = |authorization| {
            Common::new(authorization, accept).map_err(|_| {
                ConfError::Whole(format!(
                    "the client's credentials or \"phantom_token_introspection_accept\" hold what no header may, for \"phantom_token on\" in {place}"
                ))
            })
        };
        let common_raw = raw.map(|raw| common(Some(raw))).transpose()?;
        let common = common(authorization)?;
        let path = |file: &Option<Rc<super::pem::PemFile>>| {
            file.as_ref().map(|file| file.path.clone()).unwrap_or_default()
        };

        let mut identity = Vec::new();
        let mut part = |tag: u8, bytes: &[u8]| {
            identity.push(tag);
            identity.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
            identity.extend_from_slice(bytes);
        };
        for setting in settings.iter() {
            part(b'E', &setting.identity);
        }
        part(b'C', &id);
        part(b'M', &[auth as u8]);
        part(b'A', accept);
        part(b'F', &[conf.forward.unwrap_or(Forward::Jwt) as u8]);
        part(b'V', &[u8::from(verify)]);
        // What one location may not keep, another must not find.
        part(b'S', &[conf.cache_control.unwrap_or_default() as u8]);
        part(b'R', path(&conf.ssl_trusted_certificate).as_bytes());
        part(b'K', path(&conf.ssl_certificate).as_bytes());
        part(b'T', conf.token_type_hint.as_ref().map_or(&[][..], |hint| hint));
        for (tag, extras) in [(b'H', &headers), (b'P', &params)] {
            for extra in extras.iter().filter(|extra| extra.keyed) {
                part(tag, extra.name.as_bytes());
            }
        }

        let certificate = path(&conf.ssl_certificate);
        let client = parts([&id, certificate.as_bytes()]);
        let key = path(&conf.ssl_certificate_key);
        let hint = conf.token_type_hint.as_ref().map_or(&[][..], |hint| hint);
        // Of extra headers and parameters which are which, and which are part of the cache key.
        let kinds = [&headers, &params]
            .map(|extras| extras.iter().map(|extra| u8::from(extra.keyed)).collect::<Vec<_>>());
        let caller = parts([key.as_bytes(), &[auth as u8], accept, hint, &kinds[0], &kinds[1]]);

        // What may make a call fail for one location and not for another, but for time limits: the
        // gateway's own calls have the most patience that any has.
        let alone = settings.len() == 1;
        let kind = |endpoint: &Endpoint| {
            hash_of(&[
                endpoint.connect().unwrap_or_default().as_bytes(),
                &[u8::from(verify), u8::from(alone)],
                path(&conf.ssl_trusted_certificate).as_bytes(),
                certificate.as_bytes(),
                key.as_bytes(),
            ])
        };
        let patience = Patience {
            timeout: Cell::new(Duration::from_millis(conf.timeout.unwrap_or(TIMEOUT_MS))),
            connect: Cell::new(connect_timeout(conf)),
        };
        // Who asks whom: what one server says of one client's credentials.
        let client_hash = |endpoint: &Endpoint| {
            hash_of(&[
                endpoint.label().as_bytes(),
                endpoint.connect().as_deref().unwrap_or_default().as_bytes(),
                &id[..],
                certificate.as_bytes(),
            ])
        };
        let (first, backups): (Vec<_>, Vec<_>) =
            settings.iter().partition(|setting| !setting.backup);
        let endpoints = first
            .into_iter()
            .chain(backups)
            .map(|setting| PolicyEndpoint {
                endpoint: setting.endpoint.clone(),
                patience: cf.main_conf().patience(
                    &setting.endpoint,
                    kind(&setting.endpoint),
                    &patience,
                ),
                connections: cf.main_conf().servers.connections(&setting.endpoint, &tls),
                limits: setting.limits,
                kind: kind(&setting.endpoint),
                id: OnceCell::new(),
                pace: Cell::default(),
                gate: OnceCell::new(),
                form: OnceCell::new(),
                client_hash: client_hash(&setting.endpoint),
            })
            .collect();

        Ok(Self {
            endpoints,
            common,
            common_raw,
            form_credentials,
            token_type_hint: conf.token_type_hint.clone(),
            headers,
            params,
            hints,
            client,
            secret,
            caller,
            identity,
        })
    }
}

fn connect_timeout(conf: &LocConf) -> Duration {
    Duration::from_millis(conf.connect_timeout.unwrap_or(CONNECT_TIMEOUT_MS))
}

/// Parts one behind the other, each with its length: no two lists of parts are the same.
fn parts<const N: usize>(parts: [&[u8]; N]) -> Vec<u8> {
    parts.iter().flat_map(|part| [&(part.len() as u64).to_le_bytes(), *part].concat()).collect()
}

/// What `nginx -t` accepts, with a warning.
fn warn_of_doubts(cf: &mut Cf<'_>, conf: &LocConf, introspection: &Introspection, timeout_ms: u64) {
    for endpoint in &introspection.endpoints {
        let label = endpoint.endpoint.label();
        if !endpoint.endpoint.is_https() && !endpoint.endpoint.is_loopback() {
            cf.warn_once(format!(
                "tokens and credentials go to \"{label}\" unencrypted: use https (RFC 7662, section 4)"
            ));
        }
        if endpoint.endpoint.is_https() && conf.ssl_verify == Some(false) {
            cf.warn_once(format!(
                "\"phantom_token_ssl_verify off\": whoever answers for \"{label}\" is believed; use phantom_token_ssl_trusted_certificate"
            ));
        }
        if endpoint.limits.fail_timeout_ms < timeout_ms && endpoint.limits.max_fails > 0 {
            cf.warn_once(format!(
                "fail_timeout of \"{label}\" is below phantom_token_timeout: time-outs in a row may never count as one row"
            ));
        }
    }
}
