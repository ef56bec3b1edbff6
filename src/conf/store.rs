//! The store that a fleet's gateways share (`phantom_token_store`), and which locations use it.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;

use phantom_token_engine::shared::health::Limits;
use phantom_token_engine::store::keys::FleetKeys;
use phantom_token_engine::store::names::Names;
use phantom_token_engine::store::{self, Address, Node, Options, StoreOptions};
use zeroize::Zeroizing;

use crate::conf::block::Members;
use crate::conf::doubts;
use crate::conf::fleet_key::KEY_FILE;
use crate::conf::request::Values;
use crate::conf::settings::{
    M, Place, Setting, choose, no_variables, nonempty, positive_time_ms, text,
};
use crate::conf::tls::{self, Tls};
use crate::conf::{MainConf, Policy, credentials};
use crate::nginx::command::{Args, Block as _, Command, Member, Within};
use crate::nginx::parser::{Cf, ConfError, ConfigLine, invalid, number, time_ms};
use crate::nginx::sys::*;

const STORE: &str = "phantom_token_store";

const TIMEOUT_MS: u64 = 100;
const LOCK_TIMEOUT_MS: u64 = 500;
const CONNECTIONS: usize = 16;

/// The most connections that one worker may be told to have.
const MAX_CONNECTIONS: u64 = 1024;

/// The store of the fleet.
pub(crate) struct Store {
    /// Its only server. It opens no connection by itself.
    pub(crate) node: Arc<Node>,
    /// When it rests.
    pub(crate) limits: Limits,
    keys: Arc<FleetKeys>,
    names: Names,
    timeout_ms: u64,
    lock_timeout_ms: u64,
    /// The longest time for which any location that uses it keeps an answer, in milliseconds.
    longest_ms: u64,
    /// As what locations that use it ask, but for values that differ from request to request.
    pub(crate) identities: Vec<store::Identity>,
    /// Made when it is asked first.
    asked: OnceCell<Arc<store::Store>>,
}

impl Store {
    /// What is asked about tokens, in a worker.
    pub(crate) fn asked(&self) -> &Arc<store::Store> {
        self.asked.get_or_init(|| {
            Arc::new(store::Store::new(StoreOptions {
                nodes: Arc::<Node>::clone(&self.node),
                keys: self.keys.clone(),
                names: self.names.clone(),
                timeout: Duration::from_millis(self.timeout_ms),
                lock_timeout: Duration::from_millis(self.lock_timeout_ms),
                longest: Duration::from_millis(self.longest_ms),
            }))
        })
    }
}

/// What the whole `http` block has of it.
#[derive(Default)]
pub(crate) struct Main {
    block: Option<Placed>,
    /// Made when all of `http` has been read.
    pub(crate) made: Option<Store>,
    /// The shortest `phantom_token_timeout` of the locations that use it, in milliseconds; `None`: no
    /// location does.
    least_timeout_ms: Option<u64>,
}

/// A block that has been read, and its line.
struct Placed {
    node: Arc<Node>,
    limits: Limits,
    own: Settings,
    line: ConfigLine,
}

/// The block while it is read.
#[derive(Default)]
struct Block {
    own: Settings,
    tls: tls::Settings,
}

/// What the block says besides TLS.
#[derive(Default)]
pub(crate) struct Settings {
    server: Setting<Server>,
    user: Setting<String>,
    /// Until the server has it.
    password: Setting<Zeroizing<Vec<u8>>>,
    ssl_name: Setting<String>,
    timeout_ms: Setting<u64>,
    lock_timeout_ms: Setting<u64>,
    connections: Setting<usize>,
    names: Setting<Names>,
}

/// `server URL …`.
struct Server {
    url: String,
    limits: Limits,
}

impl Within<Block> for Settings {
    fn of(block: &mut Block) -> &mut Self {
        &mut block.own
    }
}

impl Within<Block> for tls::Settings {
    fn of(block: &mut Block) -> &mut Self {
        &mut block.tls
    }
}

impl Members for Block {
    const NAME: &'static str = STORE;

    fn members() -> impl Iterator<Item = &'static dyn Member<Self>> {
        let own = COMMANDS.iter().map(|command| -> &dyn Member<Self> { command });
        own.chain(tls::COMMANDS.iter().map(|command| -> &dyn Member<Self> { command }))
    }

    fn goes_outside(directive: &str) -> String {
        format!(
            "has no place in phantom_token_store, which says what the store is: write {directive} outside"
        )
    }
}

impl Block {
    /// Checks what belongs together, and makes the server of it, with when that rests; `line` is the
    /// block's first.
    fn node(&mut self, cf: &mut Cf<'_>, line: &ConfigLine) -> Result<(Node, Limits), ConfError> {
        let place = &Place::Store(line.clone());
        let password = self.own.password.take();
        let own = &self.own;
        let server = own.server.placed().ok_or_else(|| {
            ConfError::missing(
                "server",
                place,
                "write the URL of the store, such as redis://127.0.0.1:6379",
            )
        })?;
        let wrong =
            |error| ConfError::at(&server.line, format_args!("\"server\" is wrong: {error}"));
        let plain = Address::parse(&server.value.url, None).map_err(wrong)?;
        if !plain.is_tls() {
            let name = own.ssl_name.placed().map(|name| ("ssl_name", &name.line));
            if let Some((directive, at)) = self.tls.any().or(name) {
                return Err(ConfError::at(
                    at,
                    format_args!(
                        "\"{directive}\" has no effect where nothing is encrypted: write rediss:// in \"server\", or leave it out"
                    ),
                ));
            }
        }
        let address = match own.ssl_name.placed() {
            None => plain,
            Some(name) => Address::parse(&server.value.url, Some(&name.value))
                .map_err(|error| ConfError::at(&name.line, error))?,
        };
        if let (Some(user), None) = (own.user.placed(), &password) {
            return Err(ConfError::at(
                &user.line,
                "\"user\" has no password: write password_file beside it",
            ));
        }
        let tls = Tls::of(cf, &self.tls, address.is_tls(), place)?;
        if address.is_tls() {
            self.tls.put_in_force(cf);
        }
        let label = address.label();
        if !address.is_tls() && !address.is_local() {
            cf.warn_at(
                &server.line,
                format_args!(
                    "the password and purges go to \"{label}\" unencrypted: use rediss in \"server\""
                ),
            );
        }
        if address.is_tls() && !tls.verify {
            let line = self.tls.verify_place().unwrap_or(line);
            cf.warn_at(
                line,
                format_args!(
                    "\"ssl_verify off\": whoever answers for \"{label}\" is believed; use ssl_trusted_certificate"
                ),
            );
        }
        let limits = server.value.limits;
        let node = Node::new(Options {
            address,
            user: own.user.get().cloned(),
            password,
            tls: tls.client,
            connections: own.connections.or(CONNECTIONS),
        });
        Ok((node, limits))
    }
}

pub(super) const BLOCK_COMMANDS: &[Command<()>] = &[Command::new(
    c"phantom_token_store",
    M | NGX_CONF_BLOCK | NGX_CONF_NOARGS,
    "{ ... }",
    |cf, (), _| {
        let line = cf.line();
        if let Some(first) = &cf.main_conf().store.block {
            return Err(ConfError::Directive(format!(
                "stands a second time: a fleet has one store, and it is in {} already",
                first.line
            )));
        }
        let mut block = Block::default();
        cf.read(&mut block)?;
        let (node, limits) = cf.with_words(Block::in_its_words, |cf| {
            let made = block.node(cf, &line);
            // Said here, where words are the block's.
            made.inspect_err(|error| cf.report(STORE, error)).map_err(|_| ConfError::Reported)
        })?;
        cf.main_conf().store.block =
            Some(Placed { node: Arc::new(node), limits, own: block.own, line });
        Ok(())
    },
)];

const COMMANDS: &[Command<Settings>] = &[
    Command::new(c"server", NGX_CONF_1MORE, "URL [max_fails=NUMBER] [fail_timeout=TIME]", server),
    Command::new(c"sentinel", NGX_CONF_1MORE, "NAME ...", |_, _, _| Err(not_yet())),
    Command::new(c"sentinel_user", NGX_CONF_1MORE, "NAME", |_, _, _| Err(not_yet())),
    Command::new(c"sentinel_password_file", NGX_CONF_1MORE, "FILE", |_, _, _| Err(not_yet())),
    Command::new(c"cluster", NGX_CONF_TAKE1, "on | off", |_, _, args| {
        match choose(args[0], &[("on", true), ("off", false)])? {
            true => Err(not_yet()),
            false => Ok(()),
        }
    }),
    Command::new(c"purge_replicas", NGX_CONF_TAKE1, "NUMBER", |_, _, args| {
        match number(args[0])? {
            0 => Ok(()),
            _ => Err(not_yet()),
        }
    }),
    Command::new(c"user", NGX_CONF_TAKE1, "NAME", |cf, settings, args| {
        nonempty(args[0])?;
        no_variables(args[0])?;
        let name = text(args[0])?;
        if name.chars().any(|c| c.is_control() || c == ' ') {
            return Err(invalid(args[0], "write the user's name as the store's ACL has it"));
        }
        settings.user.set(cf, name.to_owned())
    }),
    Command::new(c"password_file", NGX_CONF_TAKE1, "FILE", |cf, settings, args| {
        nonempty(args[0])?;
        let password = credentials::read_secret_file(cf, args[0])?;
        settings.password.set(cf, password)
    }),
    Command::new(c"ssl_name", NGX_CONF_TAKE1, "NAME", |cf, settings, args| {
        nonempty(args[0])?;
        no_variables(args[0])?;
        settings.ssl_name.set(cf, text(args[0])?.to_owned())
    }),
    Command::new(c"timeout", NGX_CONF_TAKE1, "TIME", |cf, settings, args| {
        let ms = positive_time_ms(args[0])?;
        doubts::wait(cf, "timeout", ms);
        settings.timeout_ms.set(cf, ms)
    }),
    Command::new(c"lock_timeout", NGX_CONF_TAKE1, "TIME", |cf, settings, args| {
        let ms = time_ms(args[0])?;
        doubts::wait(cf, "lock_timeout", ms);
        settings.lock_timeout_ms.set(cf, ms)
    }),
    Command::new(c"connections", NGX_CONF_TAKE1, "NUMBER", |cf, settings, args| {
        let most = number(args[0])?;
        if !(1..=MAX_CONNECTIONS).contains(&most) {
            let write = format_args!("write a number from 1 to {MAX_CONNECTIONS}");
            return Err(invalid(args[0], write));
        }
        settings.connections.set(cf, most as usize)
    }),
    Command::new(c"prefix", NGX_CONF_TAKE1, "STRING", |cf, settings, args| {
        let names = Names::new(text(args[0])?);
        let write = "write up to 128 letters, digits, _, -, . and :";
        settings.names.set(cf, names.ok_or_else(|| invalid(args[0], write))?)
    }),
];

fn not_yet() -> ConfError {
    ConfError::directive(
        "is not supported yet: a store is one server; write it as server, and leave this out",
    )
}

fn server(cf: &mut Cf<'_>, settings: &mut Settings, args: Args<'_>) -> Result<(), ConfError> {
    args.iter().try_for_each(|arg| no_variables(arg))?;
    if let Some(first) = settings.server.placed() {
        return Err(ConfError::Directive(format!(
            "names a second server, which is not supported yet: keep one of this and that in {}",
            first.line
        )));
    }
    let url = text(args[0])?;
    // A user's password in it must not be shown.
    Address::parse(url, None)
        .map_err(|error| ConfError::Directive(format!("is wrong: {error}")))?;
    let mut limits = Limits { max_fails: 3, fail_timeout_ms: 1_000 };
    for arg in &args[1..] {
        let (name, value) = phantom_token_engine::directive::parameter(arg);
        match name {
            b"max_fails" => limits.max_fails = u32::try_from(number(value)?).unwrap_or(u32::MAX),
            b"fail_timeout" => limits.fail_timeout_ms = positive_time_ms(value)?,
            _ => {
                return Err(ConfError::Directive(format!(
                    "has an unknown parameter \"{}\": write max_fails= or fail_timeout=",
                    String::from_utf8_lossy(arg)
                )));
            }
        }
    }
    settings.server.set(cf, Server { url: url.to_owned(), limits })
}

impl MainConf {
    /// Notes as what a location asks that uses the store.
    pub(super) fn know_identity(&mut self, policy: &Policy) {
        let Some(made) = self.store.made.as_mut().filter(|_| policy.uses_store) else { return };
        let identity = policy.fleet_identity(&made.names, [&Values::new(), &Values::new()]);
        made.identities.push(identity);
    }

    /// Once all of `http` is read: the store with its keys.
    pub(crate) fn make_store(&mut self) -> Result<(), ConfError> {
        self.fleet_keys.forget_files();
        let Some(Placed { node, limits, own, line }) = &self.store.block else { return Ok(()) };
        let keys = self.fleet_keys.keys().cloned().ok_or_else(|| {
            let write = "write the file of the fleet's key, of \"openssl rand -base64 32\", the same on all gateways";
            ConfError::missing(KEY_FILE, &Place::Store(line.clone()), write)
        })?;
        self.store.made = Some(Store {
            node: Arc::clone(node),
            limits: *limits,
            keys,
            timeout_ms: own.timeout_ms.or(TIMEOUT_MS),
            lock_timeout_ms: own.lock_timeout_ms.or(LOCK_TIMEOUT_MS),
            names: own.names.get().cloned().unwrap_or_default(),
            longest_ms: 0,
            identities: Vec::new(),
            asked: OnceCell::new(),
        });
        Ok(())
    }

    /// What tells this configuration's hashes from those of another: its key, and whether there is a
    /// store, whose purges are not heard while there is none.
    pub(crate) fn hash_tag(&self) -> u64 {
        /// Unlike all kinds of names that are hashed besides.
        const KIND: u64 = u64::MAX;
        let word: &[u8] = if self.store.made.is_some() { b"store" } else { b"no store" };
        self.fleet_keys.hash_keys().next().map_or(0, |key| key.name(KIND, word).get())
    }
}

impl Cf<'_> {
    pub(super) fn has_store(&mut self) -> bool {
        self.main_conf().store.made.is_some()
    }

    /// A location uses the store whose requests wait for so long, and which keeps answers for so long.
    pub(super) fn use_store(&mut self, timeout_ms: u64, valid_ms: u64) {
        let store = &mut self.main_conf().store;
        let least = store.least_timeout_ms.get_or_insert(timeout_ms);
        *least = timeout_ms.min(*least);
        if let Some(made) = &mut store.made {
            made.longest_ms = made.longest_ms.max(valid_ms);
        }
    }

    /// At the end of the configuration: a store that is not used, or that is waited for as long as what
    /// it is to spare.
    pub(super) fn warn_of_store(&mut self) {
        let store = &self.main_conf().store;
        let (Some(Placed { own, line, .. }), Some(made)) = (&store.block, &store.made) else {
            return;
        };
        let (at, message) = match store.least_timeout_ms {
            None => (
                line,
                format!(
                    "\"{STORE}\" has no effect: no location that is on keeps answers in a zone and has phantom_token_cache_store on; write one, or leave the block out"
                ),
            ),
            Some(least) if made.timeout_ms.saturating_mul(2) >= least => (
                own.timeout_ms.placed().map_or(line, |placed| &placed.line),
                format!(
                    "\"timeout\" of \"{STORE}\" is not below half of a phantom_token_timeout of {least}ms: a store that is slow leaves little for the authorization server; write a shorter one"
                ),
            ),
            Some(_) => return,
        };
        let at = at.clone();
        self.warn_at(&at, message);
    }
}
