//! Configuration: what the directives say, and what is made of it.
//!
//! `directives` parses each directive into a typed setting of [`MainConf`] or [`LocConf`]; merging
//! inherits them; [`policy`] checks what belongs together and prepares, for every location with
//! `phantom_token on`, the [`policy::Policy`] a request is judged by.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use phantom_token_engine::answer::Forward;
use phantom_token_engine::answer::nature::Accepts;
use phantom_token_engine::client::{Endpoint, Servers};
use phantom_token_engine::lifetime::CacheControlPolicy;
use phantom_token_engine::shared::health::Limits;
use phantom_token_engine::token::bearer::{MAX_TOKEN_LEN, TokenSyntax};
use zeroize::Zeroizing;

mod cache;
mod credentials;
pub(crate) mod directives;
pub(crate) mod pem;
pub(crate) mod policy;
mod thread_pool;

pub(crate) use policy::Policy;

use crate::nginx::log::warning;
use crate::nginx::parser::{Cf, ComplexValue, ConfError, ConfigLine, ContentHandler};
use crate::nginx::sys::*;
use crate::nginx::zone::{StateZone, ZoneRef};

/// The content handlers that directives give to a location.
#[derive(Clone, Copy)]
pub(crate) struct ContentHandlers {
    pub(crate) status: ContentHandler,
    pub(crate) purge: ContentHandler,
}

/// Handlers of the rewrite phases that ours precede, each in its place: NGINX's rewrite module tells by
/// the index of its own whether it is the server's turn or a location's.
#[derive(Default)]
pub(crate) struct Preceded {
    /// The rewrite module's, in both phases.
    pub(crate) rewrite: ngx_http_handler_pt,
    /// Those that run first, where others do. They may not stay the first: Lua's handlers make
    /// themselves the last when they first run.
    pub(crate) server: ngx_http_handler_pt,
    pub(crate) location: ngx_http_handler_pt,
}

/// How `phantom_token_status` shows the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Prometheus,
    Json,
    Html,
}

impl Format {
    /// `None` where no format has this name.
    pub(crate) fn parse(name: &[u8]) -> Option<Self> {
        match name {
            b"prometheus" => Some(Self::Prometheus),
            b"json" => Some(Self::Json),
            b"html" => Some(Self::Html),
            _ => None,
        }
    }
}

/// Configuration of the whole `http` block.
pub(crate) struct MainConf {
    /// What status and purge locations are served by.
    pub(crate) handlers: ContentHandlers,
    /// Cache zones by name, as declared or made by default.
    pub(crate) zones: Vec<ZoneRef>,
    /// The zone for all that is not a cache entry; made when the module is used anywhere.
    pub(crate) state: Option<Rc<StateZone>>,
    /// `phantom_token_max_pending`.
    pub(crate) max_pending: Option<usize>,
    /// `phantom_token_worker_cache`.
    pub(crate) worker_cache: Option<usize>,
    /// Index of `$http_authorization`, forgotten on a rewrite.
    pub(crate) http_authorization: Option<usize>,
    /// Handlers of variables that hold what they were assigned, and evaluate nothing.
    pub(crate) assigned: Vec<ngx_http_get_variable_pt>,
    /// The handlers of the rewrite phases that ours precede.
    pub(crate) preceded: Preceded,
    /// TLS settings are costly to make (a root store each): one for each set of options.
    pub(crate) tls: pem::TlsCache,
    /// What a worker keeps of its connections: nothing yet.
    pub(crate) servers: Servers,
    /// All endpoints of locations that are on, each once for each way it is called: a policy, and
    /// the endpoint's place in it.
    pub(crate) endpoints: Vec<(Rc<Policy>, usize)>,
    /// Thread pools of locations that are on, and those of `aio threads` in any location.
    pub(crate) thread_pools: Vec<*mut ngx_thread_pool_t>,
    pub(crate) aio_thread_pools: Vec<*mut ngx_thread_pool_t>,
    /// What locations demand of tokens.
    pub(crate) demands: Vec<Demand>,
    /// Warnings given, so that each is given once and not for every location that inherits.
    pub(crate) warned: Vec<String>,
}

impl MainConf {
    pub(crate) fn new(handlers: ContentHandlers) -> Self {
        Self {
            handlers,
            zones: Vec::new(),
            state: None,
            max_pending: None,
            worker_cache: None,
            http_authorization: None,
            assigned: Vec::new(),
            preceded: Preceded::default(),
            tls: pem::TlsCache::default(),
            servers: Servers::default(),
            endpoints: Vec::new(),
            thread_pools: Vec::new(),
            aio_thread_pools: Vec::new(),
            demands: Vec::new(),
            warned: Vec::new(),
        }
    }
}

impl Cf<'_> {
    /// The configuration of the `http` block the parser is in.
    pub(crate) fn main_conf(&mut self) -> &mut MainConf {
        MainConf::of_parser(self)
    }

    /// A warning, once for a configuration, however many locations inherit what it is about.
    pub(crate) fn warn_once(&mut self, message: String) {
        if !self.main_conf().warned.contains(&message) {
            warning!(self.log(), "{message}");
            self.main_conf().warned.push(message);
        }
    }

    /// Makes sure that `$http_authorization` has an index, so that it can be forgotten.
    fn http_authorization(&mut self) -> Result<(), ConfError> {
        if self.main_conf().http_authorization.is_none() {
            let index = self.variable_index(b"http_authorization")?;
            self.main_conf().http_authorization = Some(index);
        }
        Ok(())
    }

    /// Notes that a level demands something of tokens, by the directive the parser is at.
    fn demand(
        &mut self,
        directive: &'static str,
        demands: &mut Vec<(&'static str, Rc<Cell<bool>>)>,
    ) {
        let (line, in_force) = (self.line(), Rc::<Cell<bool>>::default());
        demands.push((directive, in_force.clone()));
        self.main_conf().demands.push(Demand { directive, line, in_force });
    }

    /// At the end of the configuration: who demands something of tokens means them to be judged.
    pub(crate) fn warn_of_demands_without_force(&mut self) {
        let demands = std::mem::take(&mut self.main_conf().demands);
        for Demand { directive, line, .. } in demands.iter().filter(|demand| !demand.in_force.get())
        {
            self.warn_once(format!(
                "\"{directive}\" has no effect: no location goes by it; write \"phantom_token on\" where it shall count, in {line}"
            ));
        }
    }

    /// At the end of a location that takes purges, where its buffer for bodies is too small for one:
    /// the longest token, each byte in three of a form.
    fn warn_of_small_body_buffer(&mut self, line: &ConfigLine) {
        const LEAST: usize = 100 * 1024;
        const _: () = assert!(b"token=".len() + 3 * MAX_TOKEN_LEN <= LEAST);
        if self.client_body_buffer_size() < LEAST {
            self.warn_once(format!(
                "\"phantom_token_purge\" refuses long tokens with 413: write \"client_body_buffer_size 128k\" beside it, in {line}"
            ));
        }
    }
}

/// `phantom_token on | off [token=$variable]`.
#[derive(Clone)]
pub(crate) struct Switch {
    pub(crate) on: bool,
    /// Index of the variable that holds the bare token.
    pub(crate) token: Option<usize>,
    pub(crate) line: ConfigLine,
}

/// One `phantom_token_introspection_endpoint`.
#[derive(Clone)]
pub(crate) struct EndpointSetting {
    pub(crate) endpoint: Arc<Endpoint>,
    /// The URL as written, and where to connect: part of the identity.
    pub(crate) identity: Vec<u8>,
    pub(crate) limits: Limits,
    pub(crate) backup: bool,
}

/// A directive that demands something of tokens.
pub(crate) struct Demand {
    pub(crate) directive: &'static str,
    pub(crate) line: ConfigLine,
    /// Some location that is on goes by it.
    pub(crate) in_force: Rc<Cell<bool>>,
}

/// How the module authenticates at the introspection endpoint (RFC 6749 §2.3.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    Basic,
    BasicRaw,
    Post,
    None,
}

/// A client secret, wiped when it is dropped.
pub(crate) struct Secret {
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

/// Which `OPTIONS` requests pass unchecked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum AllowOptions {
    On,
    Preflight,
    Off,
}

/// What to do with a DPoP-bound token that is presented as a Bearer token (RFC 9449 §7.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum BoundTokens {
    Reject,
    Pass,
}

/// An extra header or parameter of the introspection request.
#[derive(Clone)]
pub(crate) struct Extra {
    pub(crate) name: Arc<str>,
    pub(crate) value: ComplexValue,
    /// Its value is part of the cache key.
    pub(crate) keyed: bool,
}

impl Extra {
    /// Its value as it is written.
    pub(crate) fn source(&self) -> &[u8] {
        self.value.source()
    }

    /// Whether requests differ in it, and the answer may depend on it.
    pub(crate) fn varies(&self) -> bool {
        self.keyed && self.constant().is_none()
    }

    /// Its value, where no variable is in it.
    pub(crate) fn constant(&self) -> Option<&[u8]> {
        self.value.constant()
    }
}

/// `phantom_token_cache NAME | off`.
#[derive(Clone)]
pub(crate) enum CacheSetting {
    Named { name: String, line: ConfigLine },
    Off,
}

/// `phantom_token_purge [local | any]`.
pub(crate) struct Purge {
    /// From any address.
    pub(crate) any: bool,
    pub(crate) line: ConfigLine,
}

/// Configuration of a server, a location, an `if` or a `limit_except`.
#[derive(Default)]
pub(crate) struct LocConf {
    pub(crate) switch: Option<Switch>,
    pub(crate) endpoints: Option<Rc<Vec<EndpointSetting>>>,
    pub(crate) client_id: Option<Rc<Vec<u8>>>,
    pub(crate) client_secret: Option<Rc<Secret>>,
    pub(crate) client_auth: Option<ClientAuth>,
    pub(crate) forward: Option<Forward>,
    pub(crate) scope: Option<Rc<Vec<u8>>>,
    pub(crate) realm: Option<Rc<Vec<u8>>>,
    pub(crate) resource_metadata: Option<Rc<Vec<u8>>>,
    pub(crate) allow_options: Option<AllowOptions>,
    pub(crate) bypass: Option<Rc<Vec<ComplexValue>>>,
    pub(crate) cache_bypass: Option<Rc<Vec<ComplexValue>>>,
    pub(crate) bound_tokens: Option<BoundTokens>,
    pub(crate) kind: Option<Accepts>,
    pub(crate) token_syntax: Option<TokenSyntax>,
    pub(crate) token_type_hint: Option<Rc<Vec<u8>>>,
    pub(crate) accept: Option<Rc<Vec<u8>>>,
    pub(crate) headers: Option<Rc<Vec<Extra>>>,
    pub(crate) params: Option<Rc<Vec<Extra>>>,
    pub(crate) connect_timeout: Option<u64>,
    pub(crate) timeout: Option<u64>,
    pub(crate) ssl_verify: Option<bool>,
    pub(crate) ssl_trusted_certificate: Option<Rc<pem::PemFile>>,
    pub(crate) ssl_certificate: Option<Rc<pem::PemFile>>,
    pub(crate) ssl_certificate_key: Option<Rc<pem::PemFile>>,
    pub(crate) thread_pool: Option<Rc<Vec<u8>>>,
    pub(crate) cache: Option<CacheSetting>,
    pub(crate) cache_valid: Option<u64>,
    pub(crate) cache_inactive_valid: Option<u64>,
    pub(crate) cache_stale: Option<u64>,
    pub(crate) cache_control: Option<CacheControlPolicy>,
    /// `phantom_token_status` here: the format when the request asks for none.
    pub(crate) status: Option<Format>,
    /// `phantom_token_purge` here.
    pub(crate) purge: Option<Purge>,
    /// The demands of this level, by directive, and whether they are in force.
    pub(crate) demands: Vec<(&'static str, Rc<Cell<bool>>)>,
    /// Made after merging, where the module is on.
    pub(crate) policy: Option<Rc<Policy>>,
    /// The module is on in an `if` or a `limit_except` in here.
    pub(crate) on_within: Cell<bool>,
}

impl LocConf {
    /// Whether the module judges requests here, or may: an `if` decides that in the rewrite phase.
    pub(crate) fn judges(&self) -> bool {
        self.policy.is_some() || self.on_within.get()
    }

    /// Takes over from the enclosing level what this level does not say.
    fn inherit(&mut self, outer: &Self) {
        macro_rules! inherit {
            ($($field:ident),+ $(,)?) => {
                $(if self.$field.is_none() { self.$field.clone_from(&outer.$field); })+
            };
        }
        inherit!(
            switch,
            endpoints,
            client_id,
            client_secret,
            client_auth,
            forward,
            scope,
            realm,
            resource_metadata,
            allow_options,
            bypass,
            cache_bypass,
            bound_tokens,
            kind,
            token_syntax,
            token_type_hint,
            accept,
            headers,
            params,
            connect_timeout,
            timeout,
            ssl_verify,
            ssl_trusted_certificate,
            ssl_certificate,
            ssl_certificate_key,
            thread_pool,
            cache,
            cache_valid,
            cache_inactive_valid,
            cache_stale,
            cache_control,
        );
        for (directive, in_force) in &outer.demands {
            if self.demands.iter().all(|(own, _)| own != directive) {
                self.demands.push((directive, in_force.clone()));
            }
        }
    }

    /// Inherits from `outer`, and prepares the policy where the module is on.
    pub(crate) fn merge(&mut self, cf: &mut Cf<'_>, outer: &Self) -> Result<(), ConfError> {
        self.inherit(outer);
        self.policy = match &self.switch {
            Some(switch) if switch.on => Some(Rc::new(Policy::prepare(cf, self, switch)?)),
            _ => None,
        };
        if self.policy.is_some() {
            self.demands.iter().for_each(|(_, in_force)| in_force.set(true));
            if cf.is_nameless() {
                outer.on_within.set(true);
            }
        }
        if let Some(purge) = &self.purge {
            cf.warn_of_small_body_buffer(&purge.line);
        }
        if let Some(policy) = &self.policy {
            cf.main_conf().know_endpoints(policy);
        }
        let own = self.policy.as_ref().map(|policy| policy.thread_pool);
        cf.warn_of_shared_thread_pool(own);
        Ok(())
    }
}
