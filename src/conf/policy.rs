//! What a location with `phantom_token on` makes of its settings: checked as a whole, and ready for
//! requests.

use std::cell::OnceCell;
use std::rc::Rc;

use phantom_token_engine::answer::Forward;
use phantom_token_engine::answer::facts::Signer;
use phantom_token_engine::answer::nature::Accepts;
use phantom_token_engine::store;
use phantom_token_engine::store::names::Names;
use phantom_token_engine::token::bearer::TokenSyntax;
use phantom_token_engine::token::key::{Hashing, IdentityHash, Key};

use crate::conf::access::{self, AllowOptions};
use crate::conf::cache::{self, CacheTimes};
use crate::conf::challenge::{self, Challenge};
use crate::conf::demands::require::Requirement;
use crate::conf::demands::scope::Scope;
use crate::conf::demands::step_up::StepUp;
use crate::conf::demands::{self, BoundTokens};
use crate::conf::introspection::{Introspection, Server};
use crate::conf::mint::{self, Mint};
use crate::conf::mixed::WrittenFor;
use crate::conf::phase::Phase;
use crate::conf::provider::Choice;
use crate::conf::request::Values;
use crate::conf::settings::{Location, Repeated, inherit};
use crate::nginx::parser::{Cf, ComplexValue, ConfError, ConfigLine};
use crate::nginx::thread_pool::ThreadPool;
use crate::nginx::zone::ZoneRef;

/// What locations inherit.
#[derive(Default)]
pub(crate) struct Settings {
    pub(super) access: access::Settings,
    pub(super) demands: demands::Settings,
    pub(super) challenge: challenge::Settings,
    pub(super) server: FlatServer,
    pub(super) choice: Choice,
    pub(super) cache: cache::Settings,
    pub(super) mint: mint::Settings,
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) -> Result<(), ConfError> {
        inherit!(self from outer: access, demands, challenge, server, choice, cache, mint);
        self.choice.check()
    }

    /// For what a location that is on has its thread pool: where it is named, or else where it is switched
    /// on.
    pub(super) fn thread_pool_place(&self) -> Option<&ConfigLine> {
        let named = self.server.server.as_ref().and_then(|flat| flat.calls.thread_pool_place());
        named.or(self.access.switch.placed().map(|switch| &switch.line))
    }
}

/// A server as the directives of a level and those around it say it, one by one. Levels without such
/// directives share the enclosing one's.
#[derive(Default)]
pub(crate) struct FlatServer {
    server: Option<Rc<Server>>,
    /// `None` where nothing was inherited yet.
    written_for: Option<Rc<WrittenFor>>,
}

impl FlatServer {
    /// For a directive of this level.
    pub(super) fn own(&mut self) -> &mut Server {
        Rc::make_mut(self.server.get_or_insert_default())
    }

    fn inherit(&mut self, outer: &Self) {
        let outer_written_for = outer.written_for();
        let Some(own) = &mut self.server else {
            self.server.clone_from(&outer.server);
            self.written_for = outer_written_for;
            return;
        };
        let written = Server::clone(own);
        if let Some(outer) = &outer.server {
            Rc::make_mut(own).inherit(outer);
        }
        let mut written_for = WrittenFor::of(&written, &own.endpoints);
        if let Some(outer) = outer_written_for {
            written_for.inherit(&written, &outer);
        }
        self.written_for = Some(Rc::new(written_for));
    }

    fn written_for(&self) -> Option<Rc<WrittenFor>> {
        self.written_for.clone().or_else(|| {
            // Of `http` itself, which inherits nothing.
            let server = self.server.as_ref()?;
            Some(Rc::new(WrittenFor::of(server, &server.endpoints)))
        })
    }

    /// The server of a location.
    fn get(&self, cf: &mut Cf<'_>, location: &Location) -> Rc<Server> {
        let server = self.server.clone().unwrap_or_default();
        if let Some(written_for) = &self.written_for {
            written_for.warn(cf, &server, location);
        }
        server
    }
}

/// What a request of this location is judged by.
pub(crate) struct Policy {
    /// Index of the variable that holds the token; `None`: the `Authorization` header.
    pub(crate) token: Option<usize>,
    pub(crate) syntax: TokenSyntax,
    pub(crate) phase: Phase,
    pub(crate) forward: Forward,
    pub(crate) scope: Rc<Scope>,
    pub(crate) require: Repeated<Requirement>,
    pub(crate) challenge: Challenge,
    pub(crate) allow_options: AllowOptions,
    pub(crate) bypass: Rc<Vec<ComplexValue>>,
    pub(crate) cache_bypass: Rc<Vec<ComplexValue>>,
    pub(crate) bound_tokens: BoundTokens,
    pub(crate) kind: Accepts,
    /// One must be the token's; empty: any may be.
    pub(crate) audiences: Rc<[Box<str>]>,
    pub(crate) step_up: Option<Rc<StepUp>>,
    pub(crate) introspection: Rc<Introspection>,
    /// Where answers are kept; `None`: nowhere.
    pub(crate) zone: Option<ZoneRef>,
    pub(crate) cache: CacheTimes,
    /// Answers are shared through the fleet's store.
    pub(crate) uses_store: bool,
    /// For how long own answers serve while the store is not heard, in milliseconds; `None`: to their
    /// own end.
    pub(crate) offline_valid_ms: Option<u64>,
    /// From the moment a request asks, in milliseconds.
    pub(crate) timeout_ms: u64,
    pub(crate) connect_timeout_ms: u64,
    pub(crate) thread_pool: ThreadPool,
    /// How a JWT is made of an answer; `None` where the server's goes on, or none.
    pub(crate) mint: Option<Mint>,
    /// H(identity) of what does not vary from request to request, once a worker has computed it.
    identity_hash: OnceCell<IdentityHash>,
    /// The same, as all gateways of a fleet have it.
    fleet_identity: OnceCell<store::Identity>,
}

impl Policy {
    /// Checks what belongs together and prepares it; `None` where the module is off.
    pub(super) fn of(
        cf: &mut Cf<'_>,
        settings: &Settings,
        begins: &ConfigLine,
    ) -> Result<Option<Self>, ConfError> {
        let Settings { access, demands, challenge, server, choice, cache, mint } = settings;
        let Some(switch) = access.switch.placed().filter(|switch| switch.value.on) else {
            return Ok(None);
        };
        let line = &switch.line;
        let location = &Location::that_ends(cf, begins, line);
        let forward = demands.forward.or(Forward::Jwt);
        let (server, introspection) = match choice.get() {
            Some(used) => {
                choice.noted.put_in_force(|_| true);
                cf.provider(used, forward)?
            }
            None => {
                let server = server.get(cf, location);
                cf.introspection(&server, forward, location)?
            }
        };
        let phase = Phase::of(cf, &access.phase, location)?;
        let scope = demands.scope.get().cloned().unwrap_or_default();
        let challenge = challenge.of(scope.fixed.clone(), location)?;
        let thread_pool = server.calls.thread_pool(cf)?;
        let timeout_ms = server.calls.timeout_ms();
        let connect_timeout_ms = server.calls.connect_timeout_ms();
        introspection.is_used(timeout_ms, connect_timeout_ms);
        cf.use_state_zone()?;
        cf.http_authorization()?;
        let times = CacheTimes::of(cache, &server.cache_control);
        let mint = match forward {
            Forward::Mint => Some(Mint::of(cf, mint, &times, location)?),
            Forward::Jwt | Forward::None => None,
        };
        demands.notice_open_kinds(cf, &introspection.extras);
        let zone = cache.zone(cf, line)?;
        let uses_store = zone.is_some() && cache.uses_store(cf, timeout_ms)?;

        Ok(Some(Self {
            token: switch.value.token,
            syntax: access.token_syntax.or(TokenSyntax::B64token),
            phase,
            forward,
            scope,
            require: demands.require.clone(),
            challenge,
            allow_options: access.allow_options.or(AllowOptions::On),
            bypass: access.bypass.get().cloned().unwrap_or_default(),
            cache_bypass: cache.bypass.get().cloned().unwrap_or_default(),
            bound_tokens: demands.bound_tokens.or(BoundTokens::Reject),
            kind: demands.kind.or(Accepts::default()),
            audiences: demands.audience.get().cloned().unwrap_or_default(),
            step_up: demands.step_up.get().cloned().flatten(),
            introspection,
            zone,
            uses_store,
            offline_valid_ms: cache.offline_valid_ms().filter(|_| uses_store),
            cache: mint.as_ref().map_or(times, |mint| times.at_most(mint.serves_ms)),
            timeout_ms,
            connect_timeout_ms,
            thread_pool,
            mint,
            identity_hash: OnceCell::new(),
            fleet_identity: OnceCell::new(),
        }))
    }

    /// Whether the operator's expressions decide about a token that is active: they may look at its
    /// claims.
    pub(crate) fn judges_by_variables(&self) -> bool {
        self.require.is_set() || !self.scope.made.is_empty()
    }

    /// Whether a minted JWT may go on: it is signed by a key that APIs have.
    pub(crate) fn may_forward_minted(&self, signer: Option<Signer>) -> bool {
        self.mint.as_ref().is_some_and(|mint| mint.publishes(signer))
    }

    /// H(token) ‖ H(identity), with those of the extra headers' and parameters' values that the answer
    /// may depend on.
    pub(crate) fn key(&self, hashing: &Hashing, token: &[u8], values: [&Values; 2]) -> Key {
        if self.introspection.extras.all().any(|extra| extra.keyed) {
            return self.key_as_of(self, hashing, token, values);
        }
        let identity = || self.identity_as_of(self, hashing, values);
        let identity = *self.identity_hash.get_or_init(identity);
        Key { token: hashing.token(token), identity }
    }

    /// What it would be if this location used the zone of another.
    pub(crate) fn key_as_of(
        &self,
        other: &Policy,
        hashing: &Hashing,
        token: &[u8],
        values: [&Values; 2],
    ) -> Key {
        let identity = self.identity_as_of(other, hashing, values);
        Key { token: hashing.token(token), identity }
    }

    /// What makes answers of one token different in a whole fleet, whose store has these names, with those
    /// of the extra headers' and parameters' values that the answer may depend on.
    pub(crate) fn fleet_identity(&self, names: &Names, values: [&Values; 2]) -> store::Identity {
        let Introspection { extras, identity, .. } = &*self.introspection;
        let forward = self.forward_identity();
        let fixed = [names.stream(), identity.of_fleet(), &forward];
        let whole = || store::Identity::of(fixed.into_iter().chain(extras.keyed(values)));
        match extras.all().any(|extra| extra.keyed) {
            true => whole(),
            false => *self.fleet_identity.get_or_init(whole),
        }
    }

    /// What makes two phantom tokens of one answer different.
    fn forward_identity(&self) -> Vec<u8> {
        let mut forward = vec![self.forward as u8];
        forward.extend(self.mint.iter().flat_map(|mint| &mint.identity));
        forward
    }

    fn identity_as_of(
        &self,
        other: &Policy,
        hashing: &Hashing,
        values: [&Values; 2],
    ) -> IdentityHash {
        let Introspection { extras, identity, .. } = &*self.introspection;
        // Zones stay apart in a worker's own cache and among its flights, too.
        let zone = other.zone.as_ref().map_or(&[][..], |zone| zone.name().as_bytes());
        let forward = self.forward_identity();
        let fixed = [zone, identity.bytes(), &forward];
        hashing.identity(fixed.into_iter().chain(extras.keyed(values)))
    }
}
