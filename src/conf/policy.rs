//! What a location with `phantom_token on` makes of its settings: checked as a whole, and ready for
//! requests.

use std::cell::{Cell, OnceCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use phantom_token_core::answer::Forward;
use phantom_token_core::bearer::TokenSyntax;
use phantom_token_core::challenge::Challenge;
use phantom_token_core::client::{Common, Connections, Endpoint};
use phantom_token_core::form;
use phantom_token_core::health::{EndpointId, Limits};
use phantom_token_core::key::{HashKey, IdentityHash, Key};
use phantom_token_core::lifetime::CacheControlPolicy;
use phantom_token_core::nature::Accepts;
use phantom_token_core::pace::Pace;
use phantom_token_core::state;

use crate::conf::pem::TlsFiles;
use crate::conf::{
    AllowOptions, BoundTokens, CacheSetting, Cf, ClientAuth, ComplexValue, ConfError, Extra,
    LocConf, Place, Secret, Switch,
};
use crate::flight::Values;
use crate::sys::*;
use crate::zone::{StateZone, Zone, ZoneRef};

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
    /// `client_id` and `client_secret` in the body (`phantom_token_client_auth post`).
    pub(crate) form_credentials: Option<(Rc<Vec<u8>>, Rc<Secret>)>,
    pub(crate) token_type_hint: Option<Rc<Vec<u8>>>,
    pub(crate) headers: Rc<Vec<Extra>>,
    pub(crate) params: Rc<Vec<Extra>>,
    /// The secret's form-urlencoding differs from the secret: worth a hint when it is refused.
    pub(crate) secret_is_encoded: bool,
    /// What makes two answers to one token different, but for keyed headers and parameters.
    identity: Vec<u8>,
}

/// One endpoint of a location, in the order they are tried.
pub(crate) struct PolicyEndpoint {
    pub(crate) endpoint: Arc<Endpoint>,
    /// The worker's idle connections to it.
    pub(crate) connections: Arc<Connections>,
    pub(crate) limits: Limits,
    /// Where its health is kept, once a worker has looked.
    pub(crate) id: OnceCell<Option<EndpointId>>,
    /// The endpoint and the client that asks it, for what is said or limited once for both.
    pub(crate) client_hash: u64,
    /// How long it takes to answer this worker.
    pub(crate) pace: Cell<Pace>,
}

impl Policy {
    /// Checks what belongs together and prepares it.
    pub(crate) fn prepare(
        cf: &mut Cf<'_>,
        conf: &LocConf,
        switch: &Switch,
    ) -> Result<Self, ConfError> {
        let place = &switch.place;
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

        StateZone::declare(cf)?;
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
                Some(CacheSetting::Named { name, place }) => Some(Zone::find(cf, name, place)?),
                None => Some(Zone::find(cf, Zone::DEFAULT_NAME, place)?),
            },
            cache: CacheTimes {
                valid_ms: conf.cache_valid.unwrap_or(CACHE_VALID_MS),
                inactive_ms: conf.cache_inactive_valid.unwrap_or(CACHE_INACTIVE_VALID_MS),
                stale_ms: conf.cache_stale.unwrap_or(0),
                control: conf.cache_control.unwrap_or(CacheControlPolicy::Cap),
            },
            timeout_ms,
            connect_timeout: Duration::from_millis(
                conf.connect_timeout.unwrap_or(CONNECT_TIMEOUT_MS),
            ),
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
    fn prepare(cf: &mut Cf<'_>, conf: &LocConf, place: &Place) -> Result<Self, ConfError> {
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
        let mut secret_is_encoded = false;
        let (authorization, form_credentials) = match (auth, &secret) {
            (ClientAuth::Basic, Some(secret)) => {
                secret_is_encoded = form::encoding_changes(&id, &secret.bytes);
                (Some(form::basic(&id, &secret.bytes)), None)
            }
            (ClientAuth::BasicRaw, Some(secret)) => {
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
        let common = Common::new(authorization, accept).map_err(|_| {
            ConfError::Whole(format!(
                "the client's credentials or \"phantom_token_introspection_accept\" hold what no header may, for \"phantom_token on\" in {place}"
            ))
        })?;
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

        for setting in settings.iter() {
            let known = &mut cf.main_conf().endpoints;
            if !known.iter().any(|endpoint| Arc::ptr_eq(endpoint, &setting.endpoint)) {
                known.push(setting.endpoint.clone());
            }
        }

        // Who asks whom: what one server says of one client's credentials.
        let client_hash = |endpoint: &Endpoint| {
            state::hash_of(&[
                endpoint.label().as_bytes(),
                endpoint.connect().as_deref().unwrap_or_default().as_bytes(),
                &id[..],
                path(&conf.ssl_certificate).as_bytes(),
            ])
        };
        let (first, backups): (Vec<_>, Vec<_>) =
            settings.iter().partition(|setting| !setting.backup);
        let endpoints = first
            .into_iter()
            .chain(backups)
            .map(|setting| PolicyEndpoint {
                endpoint: setting.endpoint.clone(),
                connections: cf.main_conf().servers.connections(&setting.endpoint, &tls),
                limits: setting.limits,
                id: OnceCell::new(),
                pace: Cell::default(),
                client_hash: client_hash(&setting.endpoint),
            })
            .collect();

        Ok(Self {
            endpoints,
            common,
            form_credentials,
            token_type_hint: conf.token_type_hint.clone(),
            headers,
            params,
            secret_is_encoded,
            identity,
        })
    }
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
