//! Where answers are kept, for how long, and what the server's Cache-Control counts for.

use std::rc::Rc;

use phantom_token_engine::directive;
use phantom_token_engine::lifetime::CacheControlPolicy;

use crate::conf::doubts;
use crate::conf::noted::Noted;
use crate::conf::settings::{M, MSL, Setting, choose, inherit, is_off, positive_time_ms};
use crate::nginx::command::{Args, Command};
use crate::nginx::parser::{
    Cf, ComplexValue, ConfError, ConfigLine, invalid, number, size, time_ms,
};
use crate::nginx::sys::*;
use crate::nginx::zone::{PurgeZone, StateZone, Zone, ZoneRef};

const VALID_MS: u64 = 300_000;
const INACTIVE_VALID_MS: u64 = 1_000;

/// The zone that is used, and made, where none is named.
const DEFAULT_ZONE: &str = "phantom_token";
/// Of a directive about the fleet's store, where there is none, or no location that uses it.
const NO_STORE: &str =
    "no location that is on shares a store; write a phantom_token_store block in http";

/// Of a directive about answers that are kept, where none are.
const UNKEPT: &str = "no location that is on keeps answers by it; write \"phantom_token on\", and a zone's name for \"phantom_token_cache off\",";

/// The directives about the fleet's store.
const OF_STORE: [&str; 2] = ["phantom_token_cache_store", "phantom_token_cache_offline_valid"];

const DEFAULT_ZONE_SIZE: usize = 10 * 1024 * 1024;

/// `phantom_token_cache NAME | off`.
#[derive(Clone)]
enum Cache {
    Named(String),
    Off,
}

#[derive(Default)]
pub(crate) struct Settings {
    cache: Setting<Cache>,
    valid_ms: Setting<u64>,
    inactive_valid_ms: Setting<u64>,
    stale_ms: Setting<u64>,
    ahead_ms: Setting<u64>,
    pub(super) bypass: Setting<Rc<Vec<ComplexValue>>>,
    store: Setting<bool>,
    /// `None`: `off`.
    offline_valid_ms: Setting<Option<u64>>,
    noted: Noted,
    inherits: Inherits,
}

/// Whether a level has inherited: all but `http` do.
#[derive(Default)]
struct Inherits(bool);

impl Inherits {
    fn inherit(&mut self, _: &Self) {
        self.0 = true;
    }
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: cache, valid_ms, inactive_valid_ms, stale_ms, ahead_ms, bypass, store, offline_valid_ms, noted, inherits);
    }

    /// Notes a directive about answers that are kept, where it says that they are.
    fn note_kept(&mut self, cf: &mut Cf<'_>, directive: &'static str, keeps: bool) {
        if keeps {
            self.noted.note(cf, directive, UNKEPT);
        }
    }

    /// Whether a location with a zone, whose requests wait for so long, uses the fleet's store.
    pub(super) fn uses_store(&self, cf: &mut Cf<'_>, timeout_ms: u64) -> Result<bool, ConfError> {
        if !cf.has_store() {
            return Ok(false);
        }
        self.noted.put_in_force(|directive| OF_STORE.contains(&directive));
        let uses = self.store.or(true);
        if uses {
            cf.use_purge_zone()?;
            cf.use_store(timeout_ms, self.valid_ms.or(VALID_MS));
        }
        Ok(uses)
    }

    /// For how long answers serve while the store is not heard, in milliseconds; `None`: to their end.
    pub(super) fn offline_valid_ms(&self) -> Option<u64> {
        self.offline_valid_ms.or(None)
    }

    /// Warns where this level, before it inherits, says that more than a third of an entry's life is a
    /// time to ask for it anew. A level that only shortens that life takes what is left of the other.
    pub(super) fn warn_of_ahead(&self, cf: &mut Cf<'_>, outer: &Self) {
        if !outer.inherits.0 {
            outer.warn_of_own_ahead(cf, VALID_MS);
        }
        self.warn_of_own_ahead(cf, outer.valid_ms.or(VALID_MS));
    }

    fn warn_of_own_ahead(&self, cf: &mut Cf<'_>, outer_valid_ms: u64) {
        if let Some(ahead) = self.ahead_ms.placed()
            && ahead.value > self.valid_ms.or(outer_valid_ms) / 3
        {
            cf.warn_at(
                &ahead.line,
                "\"phantom_token_cache_refresh_ahead\" is more than a third of \"phantom_token_cache_valid\": a third counts",
            );
        }
    }

    /// The zone of the location at `line`; `None` where answers are kept nowhere.
    pub(super) fn zone(
        &self,
        cf: &mut Cf<'_>,
        line: &ConfigLine,
    ) -> Result<Option<ZoneRef>, ConfError> {
        let zone = match self.cache.placed() {
            None => cf.cache_zone(DEFAULT_ZONE, line)?,
            Some(cache) => match &cache.value {
                Cache::Off => return Ok(None),
                Cache::Named(name) => cf.cache_zone(name, &cache.line)?,
            },
        };
        cf.main_conf().cache.keeps = true;
        self.noted.put_in_force(|directive| !OF_STORE.contains(&directive));
        Ok(Some(zone))
    }
}

/// What the server's Cache-Control counts for.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct ControlSettings {
    control: Setting<CacheControlPolicy>,
}

impl ControlSettings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer: control);
    }

    pub(super) fn policy(&self) -> CacheControlPolicy {
        self.control.or(CacheControlPolicy::Cap)
    }
}

/// How long answers are kept, in milliseconds.
#[derive(Clone, Copy)]
pub(crate) struct CacheTimes {
    pub(crate) valid_ms: u64,
    pub(crate) inactive_ms: u64,
    pub(crate) stale_ms: u64,
    /// How long before its end an entry is asked for anew; 0: it is not.
    pub(crate) ahead_ms: u64,
    pub(crate) control: CacheControlPolicy,
}

impl CacheTimes {
    pub(super) fn of(settings: &Settings, control: &ControlSettings) -> Self {
        Self {
            valid_ms: settings.valid_ms.or(VALID_MS),
            inactive_ms: settings.inactive_valid_ms.or(INACTIVE_VALID_MS),
            stale_ms: settings.stale_ms.or(0),
            ahead_ms: settings.ahead_ms.or(0),
            control: control.policy(),
        }
    }

    /// None longer than what is kept may serve, in milliseconds.
    pub(super) fn at_most(self, serves_ms: u64) -> Self {
        let valid_ms = self.valid_ms.min(serves_ms);
        Self { valid_ms, stale_ms: self.stale_ms.min(serves_ms - valid_ms), ..self }
    }
}

/// A zone that a directive declares.
struct Declared {
    name: String,
    line: ConfigLine,
    used: bool,
}

/// What the whole `http` block has of it.
#[derive(Default)]
pub(crate) struct Main {
    /// Zones of answers, as declared or made by default.
    pub(crate) zones: Vec<ZoneRef>,
    /// Some location that is on keeps answers.
    keeps: bool,
    /// Those that a directive declares.
    declared: Vec<Declared>,
    /// The first `phantom_token_purge`; `None`: there is none.
    pub(super) first_purge: Option<ConfigLine>,
    /// The zone for all that is not a cache entry; made when the module is used anywhere.
    pub(crate) state: Option<Rc<StateZone>>,
    /// The zone of what was purged; made where anything may be.
    pub(crate) purges: Option<Rc<PurgeZone>>,
    /// Entries each worker keeps of its own.
    pub(crate) worker_cache: Setting<usize>,
}

impl Cf<'_> {
    /// The zone of this name, which must be declared somewhere, but for the default one.
    fn cache_zone(&mut self, name: &str, line: &ConfigLine) -> Result<ZoneRef, ConfError> {
        for declared in self.main_conf().cache.declared.iter_mut().filter(|one| one.name == name) {
            declared.used = true;
        }
        let zones = &self.main_conf().cache.zones;
        match zones.iter().find(|zone| zone.name() == name).cloned() {
            Some(zone) => Ok(zone),
            None if name == DEFAULT_ZONE => {
                let zone = Zone::declare(self, name, DEFAULT_ZONE_SIZE)?;
                self.main_conf().cache.zones.push(zone.clone());
                Ok(zone)
            }
            None => Err(ConfError::at(line, self.undeclared(name))),
        }
    }

    /// At the end of the configuration: zones that nothing is kept in, and purges of nothing.
    pub(super) fn warn_of_unused_zones(&mut self) {
        let main = &mut self.main_conf().cache;
        let unused = std::mem::take(&mut main.declared);
        let purge = main.first_purge.take();
        for Declared { name, line, .. } in unused.iter().filter(|declared| !declared.used) {
            self.warn_at(
                line,
                format_args!(
                    "\"phantom_token_cache_zone\" has no effect: no location that is on keeps answers in \"{name}\"; write \"phantom_token_cache {name}\" there, or leave the zone out"
                ),
            );
        }
        if let Some(line) = purge.filter(|_| !self.main_conf().cache.keeps) {
            self.warn_at(
                &line,
                "\"phantom_token_purge\" has nothing to forget: no location that is on keeps answers; write \"phantom_token on\" there",
            );
        }
    }

    /// Of a zone that is not there, or of another word where a zone's name is meant to stand.
    fn undeclared(&mut self, name: &str) -> String {
        if matches!(name, "on" | "yes" | "true") {
            return format!(
                "\"phantom_token_cache {name}\" names no zone: write a zone's name or \"off\"; answers are kept in the zone \"{DEFAULT_ZONE}\" where it is left out"
            );
        }
        let zones = self.main_conf().cache.zones.iter();
        let there = zones.map(|zone| format!("\"{}\"", zone.name())).collect::<Vec<_>>();
        let there = match there.is_empty() {
            true => String::new(),
            false => format!(", or one of {}", there.join(", ")),
        };
        format!(
            "\"phantom_token_cache\" names the zone \"{name}\", which is not declared: write phantom_token_cache_zone zone={name}:10m in http{there}"
        )
    }

    /// Adds the state zone to the configuration, once.
    pub(super) fn use_state_zone(&mut self) -> Result<(), ConfError> {
        if self.main_conf().cache.state.is_none() {
            let zone = StateZone::declare(self)?;
            self.main_conf().cache.state = Some(zone);
        }
        Ok(())
    }

    /// Adds the zone of purges to the configuration, once.
    pub(super) fn use_purge_zone(&mut self) -> Result<(), ConfError> {
        if self.main_conf().cache.purges.is_none() {
            let zone = PurgeZone::declare(self)?;
            self.main_conf().cache.purges = Some(zone);
        }
        Ok(())
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[
    Command::new(
        c"phantom_token_cache",
        MSL | NGX_CONF_TAKE1,
        "NAME | off",
        |cf, settings, args| {
            let cache = match args[0] {
                off if is_off(off) => Cache::Off,
                name => Cache::Named(zone_name(name)?),
            };
            let is_named = matches!(cache, Cache::Named(_));
            settings.cache.set(cf, cache)?;
            settings.note_kept(cf, "phantom_token_cache", is_named);
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_cache_valid",
        MSL | NGX_CONF_TAKE1,
        "TIME",
        |cf, settings, args| {
            let ms = time_ms(args[0])?;
            settings.valid_ms.set(cf, ms)?;
            settings.note_kept(cf, "phantom_token_cache_valid", ms > 0);
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_cache_inactive_valid",
        MSL | NGX_CONF_TAKE1,
        "TIME",
        |cf, settings, args| {
            let ms = time_ms(args[0])?;
            settings.inactive_valid_ms.set(cf, ms)?;
            settings.note_kept(cf, "phantom_token_cache_inactive_valid", ms > 0);
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_cache_stale",
        MSL | NGX_CONF_TAKE1,
        "TIME",
        |cf, settings, args| {
            let ms = time_ms(args[0])?;
            settings.stale_ms.set(cf, ms)?;
            settings.note_kept(cf, "phantom_token_cache_stale", ms > 0);
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_cache_refresh_ahead",
        MSL | NGX_CONF_TAKE1,
        "TIME",
        |cf, settings, args| {
            let ms = time_ms(args[0])?;
            settings.ahead_ms.set(cf, ms)?;
            settings.note_kept(cf, "phantom_token_cache_refresh_ahead", ms > 0);
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_cache_bypass",
        MSL | NGX_CONF_1MORE,
        "STRING ...",
        |cf, settings, args| {
            doubts::condition(cf, "phantom_token_cache_bypass", args);
            let values = args.iter().map(|arg| cf.complex_value(arg)).collect::<Result<_, _>>()?;
            settings.bypass.set(cf, Rc::new(values))?;
            settings.note_kept(cf, "phantom_token_cache_bypass", true);
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_cache_store",
        MSL | NGX_CONF_TAKE1,
        "on | off",
        |cf, settings, args| {
            settings.store.set(cf, choose(args[0], &[("on", true), ("off", false)])?)?;
            settings.noted.note(cf, "phantom_token_cache_store", NO_STORE);
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_cache_offline_valid",
        MSL | NGX_CONF_TAKE1,
        "TIME | off",
        |cf, settings, args| {
            let valid = match args[0] {
                off if is_off(off) => None,
                time => Some(positive_time_ms(time)?),
            };
            settings.offline_valid_ms.set(cf, valid)?;
            settings.noted.note(cf, "phantom_token_cache_offline_valid", NO_STORE);
            Ok(())
        },
    ),
];

pub(super) const CONTROL_COMMANDS: &[Command<ControlSettings>] = &[Command::new(
    c"phantom_token_cache_control",
    MSL | NGX_CONF_TAKE1,
    "cap | strict | ignore",
    |cf, settings, args| {
        let policy = choose(
            args[0],
            &[
                ("cap", CacheControlPolicy::Cap),
                ("strict", CacheControlPolicy::Strict),
                ("ignore", CacheControlPolicy::Ignore),
            ],
        )?;
        settings.control.set(cf, policy)
    },
)];

pub(super) const MAIN_COMMANDS: &[Command<Main>] = &[
    Command::new(c"phantom_token_cache_zone", M | NGX_CONF_TAKE1, "zone=NAME:SIZE", cache_zone),
    Command::new(c"phantom_token_worker_cache", M | NGX_CONF_TAKE1, "NUMBER", |cf, main, args| {
        main.worker_cache.set(cf, number(args[0])? as usize)
    }),
];

fn zone_name(name: &[u8]) -> Result<String, ConfError> {
    directive::zone_name(name)
        .map(str::to_owned)
        .ok_or_else(|| invalid(name, "write a zone's name of letters, digits, _, - and ."))
}

fn cache_zone(cf: &mut Cf<'_>, main: &mut Main, args: Args<'_>) -> Result<(), ConfError> {
    let (name, bytes) =
        directive::zone(args[0]).ok_or_else(|| invalid(args[0], "write zone=NAME:SIZE"))?;
    let name = zone_name(name)?;
    if is_off(name.as_bytes()) {
        return Err(invalid(
            name.as_bytes(),
            "\"phantom_token_cache off\" means no cache; choose another name",
        ));
    }
    let bytes = size(bytes)?;
    if main.zones.iter().any(|zone| zone.name() == name) {
        return Err(ConfError::Directive(format!(
            "declares the zone \"{name}\" a second time: keep one, or write another name"
        )));
    }
    let zone = Zone::declare(cf, &name, bytes)?;
    main.zones.push(zone);
    main.declared.push(Declared { name, line: cf.line(), used: false });
    Ok(())
}
