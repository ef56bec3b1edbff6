//! Configuration: what the directives say, and what is made of it.
//!
//! Each file is a feature: its settings, its directives (`COMMANDS`), how they inherit, and what is made
//! of them. Here they come together: merging inherits the settings of a location, and [`policy`] prepares
//! for every location with `phantom_token on` the [`Policy`] a request is judged by.

#![forbid(unsafe_code)]

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::rc::Rc;

use phantom_token_engine::answer::Forward;
use phantom_token_engine::client::{Endpoint, Servers};
use phantom_token_engine::jose::key::Key;
use phantom_token_engine::metrics::ProviderEndpoint;

pub(crate) mod access;
mod assertion;
mod block;
pub(crate) mod cache;
pub(crate) mod calls;
pub(crate) mod challenge;
pub(crate) mod claim_set;
pub(crate) mod clock;
mod condition;
pub(crate) mod credentials;
pub(crate) mod demands;
mod doubts;
pub(crate) mod endpoints;
mod files;
pub(crate) mod fleet_key;
pub(crate) mod introspection;
pub(crate) mod issuer;
pub(crate) mod mint;
mod mixed;
mod noted;
pub(crate) mod operate;
pub(crate) mod phase;
pub(crate) mod policy;
pub(crate) mod provider;
pub(crate) mod request;
mod settings;
pub(crate) mod store;
mod tls;

pub(crate) use policy::Policy;

use crate::nginx::command::{Member, Table, Within};
use crate::nginx::handlers::Displaced;
use crate::nginx::log::{notice, warning};
use crate::nginx::parser::{Cf, ConfError, ConfigLine};
use crate::nginx::sys::*;
use endpoints::{Patience, PolicyEndpoint};
use introspection::{Introspection, Server};
use mint::KeySet;
use operate::ContentHandlers;
use settings::{Location, Place};

/// Configuration of the whole `http` block.
pub(crate) struct MainConf {
    pub(crate) calls: calls::Main,
    pub(crate) cache: cache::Main,
    pub(crate) claim_sets: claim_set::Main,
    tls: tls::Main,
    /// Files of certificates and keys, each once.
    pem_files: Vec<Rc<files::PemFile>>,
    /// Keys of JOSE, each once, by their files.
    keys: Vec<(String, Key)>,
    pub(crate) providers: provider::Main,
    pub(crate) fleet_keys: fleet_key::Main,
    pub(crate) store: store::Main,
    mint: mint::Main,
    /// What has been made of servers that no block says, each once.
    introspections: Vec<(Rc<Server>, Rc<Introspection>)>,
    /// Endpoints, each once for each way it is called, and how long they are waited for.
    patiences: Vec<(String, u64, Rc<Patience>)>,
    /// Directives that count in some locations alone.
    written: noted::Main,
    /// Where tokens are judged before the limits, if they are anywhere.
    preaccess: Option<ConfigLine>,
    /// What a worker keeps of its connections: nothing yet.
    pub(crate) servers: Servers,
    /// All endpoints of locations that are on, each once for each way it is called: a policy, and
    /// the endpoint's place in it.
    pub(crate) endpoints: Vec<(Rc<Policy>, usize)>,
    /// The first `phantom_token_ready`; `None`: there is none.
    first_ready: Option<ConfigLine>,
    /// What status and purge locations are served by.
    handlers: ContentHandlers,
    /// Index of `$http_authorization`, forgotten on a rewrite.
    pub(crate) http_authorization: Option<usize>,
    /// Handlers of variables that hold what they were assigned, and evaluate nothing.
    pub(crate) assigned: Vec<ngx_http_get_variable_pt>,
    /// The handlers of the rewrite phases that ours precede.
    pub(crate) preceded: Preceded,
    /// Warnings and notices given, so that each is given once and not for every location that inherits.
    said: HashSet<String>,
}

/// Handlers of the rewrite phases that ours precede, each in its place: NGINX's rewrite module tells by
/// the index of its own whether it is the server's turn or a location's.
#[derive(Default)]
pub(crate) struct Preceded {
    /// The rewrite module's, in both phases.
    pub(crate) rewrite: Displaced,
    /// Those that run first, where others do. They may not stay the first: Lua's handlers make
    /// themselves the last when they first run.
    pub(crate) server: Displaced,
    pub(crate) location: Displaced,
}

impl MainConf {
    pub(crate) fn new(handlers: ContentHandlers) -> Self {
        Self {
            calls: calls::Main::default(),
            cache: cache::Main::default(),
            claim_sets: claim_set::Main::default(),
            tls: tls::Main::default(),
            pem_files: Vec::new(),
            keys: Vec::new(),
            providers: provider::Main::default(),
            fleet_keys: fleet_key::Main::default(),
            store: store::Main::default(),
            mint: mint::Main::default(),
            introspections: Vec::new(),
            patiences: Vec::new(),
            written: noted::Main::default(),
            preaccess: None,
            servers: Servers::default(),
            endpoints: Vec::new(),
            first_ready: None,
            handlers,
            http_authorization: None,
            assigned: Vec::new(),
            preceded: Preceded::default(),
            said: HashSet::new(),
        }
    }

    /// How long an endpoint of this kind is waited for, by all who call it in the same way.
    fn patience(&mut self, endpoint: &Endpoint, kind: u64) -> Rc<Patience> {
        let same =
            |(label, known, _): &&(String, u64, _)| *known == kind && label == endpoint.label();
        if let Some((_, _, patience)) = self.patiences.iter().find(same) {
            return patience.clone();
        }
        let patience = Rc::<Patience>::default();
        self.patiences.push((endpoint.label().to_owned(), kind, patience.clone()));
        patience
    }

    /// Adds the endpoints of a location that are not known yet.
    fn know_endpoints(&mut self, policy: &Rc<Policy>) {
        for (index, endpoint) in policy.introspection.endpoints.iter().enumerate() {
            let mut known = self.endpoints();
            if !known.any(|known| known.is_called_as(&endpoint.endpoint, endpoint.kind)) {
                drop(known);
                self.endpoints.push((policy.clone(), index));
            }
        }
    }

    /// The endpoints of all providers, each once.
    pub(crate) fn provider_endpoints(&self) -> Vec<ProviderEndpoint<'_>> {
        let all = self.providers.all.iter().flat_map(|block| {
            let labels = block.introspection.endpoints.iter();
            labels.map(|one| (&*block.name, one.endpoint.label()))
        });
        let each = all.map(|(provider, endpoint)| ProviderEndpoint { provider, endpoint });
        // Two may differ in what their label does not show.
        each.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The servers of these providers; of none: all providers', and those of locations that are on
    /// without one.
    pub(crate) fn servers_asked(&self, named: &[Rc<str>]) -> impl Iterator<Item = &Introspection> {
        let blocks = self.providers.all.iter();
        let blocks = blocks.filter(move |block| named.is_empty() || named.contains(&block.name));
        let flat = self.introspections.iter().filter(move |_| named.is_empty());
        let blocks = blocks.flat_map(|block| {
            std::iter::once(&*block.introspection).chain(block.otherwise_asked.as_deref())
        });
        blocks.chain(flat.map(|(_, introspection)| &**introspection))
    }

    /// All endpoints of locations that are on, each once for each way it is called.
    pub(crate) fn endpoints(&self) -> impl Iterator<Item = &PolicyEndpoint> {
        self.endpoints.iter().map(|(policy, index)| &policy.introspection.endpoints[*index])
    }
}

/// Configuration of a server, a location, an `if` or a `limit_except`.
pub(crate) struct LocConf {
    /// Its first line.
    begins: ConfigLine,
    settings: policy::Settings,
    pub(crate) operate: operate::Settings,
    /// Made after merging, where the module is on.
    pub(crate) policy: Option<Rc<Policy>>,
    /// What `phantom_token_publish_jwks` shows here.
    pub(crate) key_set: Option<Rc<KeySet>>,
    /// The module is on in an `if` or a `limit_except` in here.
    on_within: Cell<bool>,
}

impl LocConf {
    /// An empty one, of the block that begins at this line.
    pub(crate) fn at(begins: ConfigLine) -> Self {
        Self {
            begins,
            settings: policy::Settings::default(),
            operate: operate::Settings::default(),
            policy: None,
            key_set: None,
            on_within: Cell::default(),
        }
    }

    /// Whether the module judges requests here, or may: an `if` decides that in the rewrite phase.
    pub(crate) fn judges(&self) -> bool {
        self.policy.is_some() || self.on_within.get()
    }

    /// Inherits from `outer`, and prepares the policy where the module is on.
    pub(crate) fn merge(&mut self, cf: &mut Cf<'_>, outer: &Self) -> Result<(), ConfError> {
        self.settings.demands.warn_of_replaced(cf, &outer.settings.demands);
        self.settings.cache.warn_of_ahead(cf, &outer.settings.cache);
        self.settings.inherit(&outer.settings)?;
        self.policy = Policy::of(cf, &self.settings, &self.begins)?.map(Rc::new);
        if self.policy.is_some() {
            cf.main_conf().written.judges = true;
            self.settings.demands.noted.put_in_force(|_| true);
            if cf.is_nameless() {
                outer.on_within.set(true);
            }
        }
        self.key_set = match self.operate.publish_jwks.placed() {
            Some(publish) => Some(Rc::new(KeySet::of(cf, &self.settings.mint, &publish.line)?)),
            // An `if` has the content of the location around it.
            None => outer.key_set.clone(),
        };
        self.operate.warn_of_doubts(cf);
        if let Some(policy) = &self.policy {
            cf.main_conf().know_endpoints(policy);
            cf.main_conf().know_identity(policy);
        }
        let own = self.policy.as_ref().zip(self.settings.thread_pool_place());
        cf.warn_of_shared_thread_pool(own.map(|(policy, line)| (policy.thread_pool, line)));
        Ok(())
    }
}

impl Cf<'_> {
    /// At the end of the configuration: what is there for nothing.
    pub(crate) fn warn_at_end(&mut self) {
        self.warn_of_unused();
        self.warn_of_unused_providers();
        self.warn_of_unused_zones();
        self.warn_of_unpublished_keys();
        self.warn_of_store();
        let nobody = self.main_conf().servers_asked(&[]).next().is_none();
        if let Some(line) = self.main_conf().first_ready.clone().filter(|_| nobody) {
            self.warn_at(
                &line,
                "\"phantom_token_ready\" has no server to look at: write \"phantom_token on\" in what shall be protected",
            );
        }
    }

    /// The configuration of the `http` block the parser is in.
    pub(crate) fn main_conf(&mut self) -> &mut MainConf {
        MainConf::of_parser(self)
    }

    /// What is made of the server that a location has without a block, and that forwards so.
    fn introspection(
        &mut self,
        server: &Rc<Server>,
        forward: Forward,
        location: &Location,
    ) -> Result<(Rc<Server>, Rc<Introspection>), ConfError> {
        let mut known = self.main_conf().introspections.iter();
        let same = |(known, made): &&(Rc<Server>, Rc<Introspection>)| {
            made.accept == server.request.accept(forward)
                && (Rc::ptr_eq(known, server) || *known == *server)
        };
        if let Some(known) = known.rfind(same).cloned() {
            // Written twice: the lines of both count.
            known.1.put_in_force(self, server);
            return Ok(known);
        }
        let made = Introspection::of(self, server, forward, &Place::Location(location.clone()))?;
        made.put_in_force(self, server);
        let made = (server.clone(), Rc::new(made));
        self.main_conf().introspections.push(made.clone());
        Ok(made)
    }

    /// A warning of what stands at `line`, once for a configuration, however many locations inherit it.
    fn warn_at(&mut self, line: &ConfigLine, message: impl fmt::Display) {
        if let Some(message) = self.first_time(line, message) {
            warning!(self.log(), "{message}");
        }
    }

    /// A warning of the directive the parser is at.
    fn warn_here(&mut self, message: impl fmt::Display) {
        let line = self.line();
        self.warn_at(&line, message);
    }

    /// A notice, as [`Self::warn_at`].
    fn notice_at(&mut self, line: &ConfigLine, message: impl fmt::Display) {
        if let Some(message) = self.first_time(line, message) {
            notice!(self.log(), "{message}");
        }
    }

    /// A message in the words of where the parser is, where it was not given before.
    fn first_time(&mut self, line: &ConfigLine, message: impl fmt::Display) -> Option<String> {
        let message = self.worded(&format!("{message}, in {line}"));
        self.main_conf().said.insert(message.clone()).then_some(message)
    }

    /// Makes sure that `$http_authorization` has an index, so that it can be forgotten.
    fn http_authorization(&mut self) -> Result<(), ConfError> {
        if self.main_conf().http_authorization.is_none() {
            let index = self.variable_index(b"http_authorization")?;
            self.main_conf().http_authorization = Some(index);
        }
        Ok(())
    }
}

/// Where the settings of each feature are, and the tables of all their directives.
macro_rules! directives {
    (
        Server { $($shared:path: $of_server:ty = $server_field:ident;)+ }
        Block { $($inner:path: $of_block:ty = $block_field:ident;)* }
        $($conf:ty { $($commands:path: $settings:ty = $($field:ident).+;)+ })+
    ) => {
        // In a block, and flat in any location.
        $(impl Within<Server> for $of_server {
            fn of(server: &mut Server) -> &mut Self {
                &mut server.$server_field
            }
        }

        impl Within<LocConf> for $of_server {
            fn of(conf: &mut LocConf) -> &mut Self {
                &mut conf.settings.server.own().$server_field
            }

            fn may_stand(
                conf: &mut LocConf,
                cf: &mut Cf<'_>,
                name: &'static [u8],
            ) -> Result<(), ConfError> {
                cf.note_flat(name);
                conf.settings.choice.flat(cf, name)
            }
        })+

        // In a block alone.
        $(impl Within<Server> for $of_block {
            fn of(server: &mut Server) -> &mut Self {
                &mut server.$block_field
            }
        })*

        $($(impl Within<$conf> for $settings {
            fn of(conf: &mut $conf) -> &mut Self {
                &mut conf.$($field).+
            }
        })+)+

        /// What may stand in `phantom_token_provider`.
        fn members() -> impl Iterator<Item = &'static dyn Member<Server>> {
            std::iter::empty()
                $(.chain($shared.iter().map(|command| -> &dyn Member<Server> { command })))+
                $(.chain($inner.iter().map(|command| -> &dyn Member<Server> { command })))*
        }

        const DIRECTIVES: usize = 0
            $(+ $shared.len())+ $(+ $inner.len())* $($(+ $commands.len())+)+
            + provider::BLOCK_COMMANDS.len() + store::BLOCK_COMMANDS.len();

        /// All directives, and the empty row that ends each table of NGINX's.
        pub(crate) static COMMANDS: Table<{ DIRECTIVES + 1 }> = Table::new()
            $(.with::<LocConf, $of_server>($shared))+
            $(.with_misplaced($inner, provider::misplaced))*
            $($(.with::<$conf, $settings>($commands))+)+
            .with_blocks(provider::BLOCK_COMMANDS)
            .with_blocks(store::BLOCK_COMMANDS);
    };
}

directives! {
    Server {
        endpoints::COMMANDS: endpoints::Settings = endpoints;
        credentials::COMMANDS: credentials::Settings = credentials;
        request::COMMANDS: request::Settings = request;
        calls::COMMANDS: calls::Settings = calls;
        tls::COMMANDS: tls::Settings = tls;
        cache::CONTROL_COMMANDS: cache::ControlSettings = cache_control;
    }
    Block {
        assertion::COMMANDS: assertion::Settings = assertion;
        clock::COMMANDS: clock::Settings = clock;
        issuer::COMMANDS: issuer::Settings = issuer;
    }
    LocConf {
        access::COMMANDS: access::Settings = settings.access;
        provider::COMMANDS: provider::Choice = settings.choice;
        demands::COMMANDS: demands::Settings = settings.demands;
        challenge::COMMANDS: challenge::Settings = settings.challenge;
        mint::COMMANDS: mint::Settings = settings.mint;
        cache::COMMANDS: cache::Settings = settings.cache;
        operate::COMMANDS: operate::Settings = operate;
    }
    MainConf {
        calls::MAIN_COMMANDS: calls::Main = calls;
        cache::MAIN_COMMANDS: cache::Main = cache;
        claim_set::MAIN_COMMANDS: claim_set::Main = claim_sets;
        fleet_key::COMMANDS: fleet_key::Main = fleet_keys;
    }
}
