//! The directives: their contexts, and how each becomes a typed setting.
//!
//! One C callback serves them all: the table's `post` slot holds the Rust function that parses the
//! directive, so a setter is plain Rust and a refusal is a `Result`.

use core::ffi::{c_char, c_void};
use std::rc::Rc;
use std::sync::Arc;

use phantom_token_engine::answer::Forward;
use phantom_token_engine::answer::nature::Accepts;
use phantom_token_engine::client::Endpoint;
use phantom_token_engine::directive::{self, Maker};
use phantom_token_engine::lifetime::CacheControlPolicy;
use phantom_token_engine::shared::health::Limits;
use phantom_token_engine::token::bearer::TokenSyntax;
use phantom_token_engine::token::challenge;

use crate::conf::{
    AllowOptions, BoundTokens, CacheSetting, ClientAuth, EndpointSetting, Extra, Format, LocConf,
    MainConf, Purge, Switch, credentials, pem,
};
use crate::nginx::guard;
use crate::nginx::parser::{Cf, ConfError, ContentHandler, invalid, number, size, time_ms};
use crate::nginx::sys::*;
use crate::nginx::zone::Zone;

pub(super) type Args<'a> = &'a [&'static [u8]];
type Set<C> = fn(&mut Cf<'_>, &mut C, Args<'_>) -> Result<(), ConfError>;

const M: u32 = NGX_HTTP_MAIN_CONF;
const SL: u32 = NGX_HTTP_SRV_CONF | NGX_HTTP_LOC_CONF;
const MSL: u32 = M | SL;
/// Also in `if` in a location and in `limit_except`.
const IF: u32 = NGX_HTTP_LIF_CONF | NGX_HTTP_LMT_CONF;

const fn loc(name: &'static core::ffi::CStr, flags: u32, set: Set<LocConf>) -> ngx_command_t {
    ngx_command_t {
        name: ngx_str_t { len: name.to_bytes().len(), data: name.as_ptr().cast_mut().cast() },
        type_: flags as ngx_uint_t,
        set: Some(set_loc),
        conf: NGX_HTTP_LOC_CONF_OFFSET,
        offset: 0,
        post: set as *mut c_void,
    }
}

const fn main(name: &'static core::ffi::CStr, flags: u32, set: Set<MainConf>) -> ngx_command_t {
    ngx_command_t {
        set: Some(set_main),
        conf: NGX_HTTP_MAIN_CONF_OFFSET,
        post: set as *mut c_void,
        ..loc(name, flags, |_, _, _| Ok(()))
    }
}

const FLAG: u32 = NGX_CONF_TAKE1;

/// The table NGINX reads.
pub(crate) static mut COMMANDS: [ngx_command_t; 40] = [
    loc(c"phantom_token", MSL | IF | NGX_CONF_TAKE12, switch),
    loc(c"phantom_token_introspection_endpoint", MSL | NGX_CONF_1MORE, endpoint),
    loc(c"phantom_token_client_id", MSL | NGX_CONF_TAKE1, |cf, conf, args| {
        credentials::check(cf, "phantom_token_client_id", args[0])?;
        if directive::seems_variable(args[0]) {
            let (id, place) = (String::from_utf8_lossy(args[0]), cf.line());
            let message = format!(
                "\"phantom_token_client_id\" takes no variables: \"{id}\" is sent as it stands, in {place}"
            );
            cf.warn_once(message);
        }
        once(&mut conf.client_id, Rc::new(args[0].to_vec()))
    }),
    loc(c"phantom_token_client_secret", MSL | NGX_CONF_TAKE1, credentials::secret),
    loc(c"phantom_token_client_secret_file", MSL | NGX_CONF_TAKE1, credentials::secret_file),
    loc(c"phantom_token_client_auth", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        let auth = choose(
            args[0],
            &[
                ("basic", ClientAuth::Basic),
                ("basic_raw", ClientAuth::BasicRaw),
                ("post", ClientAuth::Post),
                ("none", ClientAuth::None),
            ],
        )?;
        once(&mut conf.client_auth, auth)
    }),
    loc(c"phantom_token_forward", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        once(&mut conf.forward, choose(args[0], &[("jwt", Forward::Jwt), ("none", Forward::None)])?)
    }),
    loc(c"phantom_token_scope", MSL | IF | NGX_CONF_TAKE1, |cf, conf, args| {
        no_variables(args[0])?;
        challenge::check_scope(args[0]).map_err(|error| invalid(args[0], error))?;
        let values: Vec<_> = phantom_token_engine::answer::scope::values(args[0]).collect();
        once(&mut conf.scope, Rc::new(values.join(&b' ')))?;
        cf.demand("phantom_token_scope", &mut conf.demands);
        Ok(())
    }),
    loc(c"phantom_token_realm", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        no_variables(args[0])?;
        challenge::check_realm(args[0]).map_err(|error| invalid(args[0], error))?;
        once(&mut conf.realm, Rc::new(args[0].to_vec()))
    }),
    loc(c"phantom_token_resource_metadata", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        no_variables(args[0])?;
        challenge::check_resource_metadata(args[0]).map_err(|error| invalid(args[0], error))?;
        once(&mut conf.resource_metadata, Rc::new(args[0].to_vec()))
    }),
    loc(c"phantom_token_allow_options", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        let allow = choose(
            args[0],
            &[
                ("on", AllowOptions::On),
                ("preflight", AllowOptions::Preflight),
                ("off", AllowOptions::Off),
            ],
        )?;
        once(&mut conf.allow_options, allow)
    }),
    loc(c"phantom_token_bypass", MSL | NGX_CONF_1MORE, bypass),
    loc(c"phantom_token_cache_bypass", MSL | NGX_CONF_1MORE, |cf, conf, args| {
        let values = args.iter().map(|arg| cf.complex_value(arg)).collect::<Result<_, _>>()?;
        once(&mut conf.cache_bypass, Rc::new(values))
    }),
    loc(c"phantom_token_bound_tokens", MSL | NGX_CONF_TAKE1, |cf, conf, args| {
        let bound =
            choose(args[0], &[("reject", BoundTokens::Reject), ("pass", BoundTokens::Pass)])?;
        once(&mut conf.bound_tokens, bound)?;
        if bound == BoundTokens::Reject {
            cf.demand("phantom_token_bound_tokens", &mut conf.demands);
        }
        Ok(())
    }),
    loc(c"phantom_token_kind", MSL | NGX_CONF_TAKE1, |cf, conf, args| {
        let kinds = choose(
            args[0],
            &[("access", Accepts::Access), ("declared", Accepts::Declared), ("any", Accepts::Any)],
        )?;
        once(&mut conf.kind, kinds)?;
        if kinds != Accepts::Any {
            cf.demand("phantom_token_kind", &mut conf.demands);
        }
        Ok(())
    }),
    loc(c"phantom_token_token_syntax", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        let syntax = choose(
            args[0],
            &[("b64token", TokenSyntax::B64token), ("vschar", TokenSyntax::Vschar)],
        )?;
        once(&mut conf.token_syntax, syntax)
    }),
    loc(c"phantom_token_token_type_hint", MSL | NGX_CONF_TAKE1, |cf, conf, args| {
        nonempty(args[0])?;
        no_variables(args[0])?;
        warn_of_hint(cf, "phantom_token_token_type_hint", args[0]);
        once(&mut conf.token_type_hint, Rc::new(args[0].to_vec()))
    }),
    loc(c"phantom_token_introspection_accept", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        no_variables(args[0])?;
        if !directive::is_accept(args[0]) {
            return Err(invalid(args[0], "write a media type such as application/jwt"));
        }
        once(&mut conf.accept, Rc::new(args[0].to_vec()))
    }),
    loc(c"phantom_token_introspection_header", MSL | NGX_CONF_TAKE23, introspection_header),
    loc(c"phantom_token_introspection_param", MSL | NGX_CONF_TAKE23, introspection_param),
    loc(c"phantom_token_connect_timeout", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        once(&mut conf.connect_timeout, positive_time(args[0])?)
    }),
    loc(c"phantom_token_timeout", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        once(&mut conf.timeout, positive_time(args[0])?)
    }),
    main(c"phantom_token_max_pending", M | NGX_CONF_TAKE1, |_, conf, args| {
        let max = number(args[0])?;
        if max == 0 {
            return Err(invalid(args[0], "write a number from 1"));
        }
        once(&mut conf.max_pending, max as usize)
    }),
    loc(c"phantom_token_ssl_verify", MSL | FLAG, |_, conf, args| {
        once(&mut conf.ssl_verify, choose(args[0], &[("on", true), ("off", false)])?)
    }),
    loc(c"phantom_token_ssl_trusted_certificate", MSL | NGX_CONF_TAKE1, |cf, conf, args| {
        let file = pem::PemFile::read(cf, args[0])?;
        once(&mut conf.ssl_trusted_certificate, Rc::new(file))
    }),
    loc(c"phantom_token_ssl_certificate", MSL | NGX_CONF_TAKE1, |cf, conf, args| {
        let file = pem::PemFile::read(cf, args[0])?;
        once(&mut conf.ssl_certificate, Rc::new(file))
    }),
    loc(c"phantom_token_ssl_certificate_key", MSL | NGX_CONF_TAKE1, |cf, conf, args| {
        let file = pem::PemFile::read(cf, args[0])?;
        once(&mut conf.ssl_certificate_key, Rc::new(file))
    }),
    loc(c"phantom_token_thread_pool", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        nonempty(args[0])?;
        if args[0].contains(&b'$') {
            return Err(invalid(args[0], "write the name of a thread_pool, without variables"));
        }
        once(&mut conf.thread_pool, Rc::new(args[0].to_vec()))
    }),
    main(c"phantom_token_cache_zone", M | NGX_CONF_TAKE1, cache_zone),
    loc(c"phantom_token_cache", MSL | NGX_CONF_TAKE1, |cf, conf, args| {
        let setting = match args[0] {
            b"off" => CacheSetting::Off,
            name => CacheSetting::Named { name: zone_name(name)?, line: cf.line() },
        };
        once(&mut conf.cache, setting)
    }),
    loc(c"phantom_token_cache_valid", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        once(&mut conf.cache_valid, time_ms(args[0])?)
    }),
    loc(c"phantom_token_cache_inactive_valid", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        once(&mut conf.cache_inactive_valid, time_ms(args[0])?)
    }),
    loc(c"phantom_token_cache_stale", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        once(&mut conf.cache_stale, time_ms(args[0])?)
    }),
    loc(c"phantom_token_cache_control", MSL | NGX_CONF_TAKE1, |_, conf, args| {
        let policy = choose(
            args[0],
            &[
                ("cap", CacheControlPolicy::Cap),
                ("strict", CacheControlPolicy::Strict),
                ("ignore", CacheControlPolicy::Ignore),
            ],
        )?;
        once(&mut conf.cache_control, policy)
    }),
    main(c"phantom_token_worker_cache", M | NGX_CONF_TAKE1, |_, conf, args| {
        once(&mut conf.worker_cache, number(args[0])? as usize)
    }),
    loc(c"phantom_token_status", SL | NGX_CONF_NOARGS | NGX_CONF_TAKE1, |cf, conf, args| {
        let format = match args.first() {
            None => Format::Prometheus,
            Some(name) => Format::parse(name)
                .ok_or_else(|| invalid(name, "write prometheus, json or html"))?,
        };
        once(&mut conf.status, format)?;
        let handler = cf.main_conf().handlers.status;
        content_handler(cf, handler)
    }),
    loc(c"phantom_token_purge", SL | NGX_CONF_NOARGS | NGX_CONF_TAKE1, |cf, conf, args| {
        let line = cf.line();
        let any = match args.first() {
            None => false,
            Some(who) => choose(who, &[("local", false), ("any", true)])?,
        };
        once(&mut conf.purge, Purge { any, line })?;
        let handler = cf.main_conf().handlers.purge;
        content_handler(cf, handler)
    }),
    ngx_command_t::empty(),
    ngx_command_t::empty(),
    ngx_command_t::empty(),
];

/// The callback of every directive of a location.
extern "C" fn set_loc(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: NGINX passes the parser, the table's row (whose `post` was filled by `loc` with this
    // very type) and what `create_loc_conf` made.
    unsafe {
        let set = core::mem::transmute::<*mut c_void, Set<LocConf>>((*cmd).post);
        set_with(cf, cmd, &mut *conf.cast::<LocConf>(), set)
    }
}

/// The callback of every directive of the `http` block alone.
extern "C" fn set_main(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: *mut c_void,
) -> *mut c_char {
    // SAFETY: as in `set_loc`, with `main` and `create_main_conf`.
    unsafe {
        let set = core::mem::transmute::<*mut c_void, Set<MainConf>>((*cmd).post);
        set_with(cf, cmd, &mut *conf.cast::<MainConf>(), set)
    }
}

/// # Safety
/// `cf` and `cmd` must be what NGINX passed to the callback.
unsafe fn set_with<C>(
    cf: *mut ngx_conf_t,
    cmd: *mut ngx_command_t,
    conf: &mut C,
    set: Set<C>,
) -> *mut c_char {
    let failed = CONF_ERROR;
    // SAFETY: the caller vouches for both; the name is a string of this binary.
    let (mut cf, name) = unsafe { (Cf::new(cf), bytes(&(*cmd).name)) };
    let log = cf.log();
    guard::entry(
        "a directive",
        || log,
        failed,
        || {
            let args = cf.args();
            match set(&mut cf, conf, &args) {
                Ok(()) => core::ptr::null_mut(),
                Err(error) => {
                    cf.report(&String::from_utf8_lossy(name), &error);
                    failed
                }
            }
        },
    )
}

/// Sets what may stand once on a level.
fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), ConfError> {
    match slot {
        Some(_) => Err(ConfError::Duplicate),
        None => {
            *slot = Some(value);
            Ok(())
        }
    }
}

/// Adds to what may stand several times on a level.
fn push<T: Clone>(slot: &mut Option<Rc<Vec<T>>>, value: T) {
    Rc::make_mut(slot.get_or_insert_default()).push(value);
}

fn choose<T: Copy>(value: &[u8], choices: &[(&str, T)]) -> Result<T, ConfError> {
    choices.iter().find(|(word, _)| word.as_bytes() == value).map(|&(_, chosen)| chosen).ok_or_else(
        || {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            invalid(value, format_args!("write {}", words.join(" or ")))
        },
    )
}

fn nonempty(value: &[u8]) -> Result<(), ConfError> {
    if value.is_empty() { Err(ConfError::directive("has an empty value")) } else { Ok(()) }
}

/// For strings in which NGINX's users expect variables.
fn no_variables(value: &[u8]) -> Result<(), ConfError> {
    match directive::seems_variable(value) {
        true => Err(invalid(value, "it takes no variables; write the value itself")),
        false => Ok(()),
    }
}

fn positive_time(value: &[u8]) -> Result<u64, ConfError> {
    match time_ms(value)? {
        0 => Err(invalid(value, "write a time above 0")),
        ms => Ok(ms),
    }
}

fn text(value: &[u8]) -> Result<&str, ConfError> {
    std::str::from_utf8(value).map_err(|_| ConfError::directive("has a value that is not UTF-8"))
}

fn switch(cf: &mut Cf<'_>, conf: &mut LocConf, args: Args<'_>) -> Result<(), ConfError> {
    let on = choose(args[0], &[("on", true), ("off", false)])?;
    let token = match args.get(1) {
        None => None,
        Some(_) if !on => return Err(ConfError::directive("takes token= only with on")),
        Some(arg) => {
            let name = directive::token_variable(arg).ok_or_else(|| {
                invalid(arg, "write token=$variable, the variable that holds the bare token")
            })?;
            Some(cf.variable_index(name)?)
        }
    };
    once(&mut conf.switch, Switch { on, token, line: cf.line() })
}

fn endpoint(_: &mut Cf<'_>, conf: &mut LocConf, args: Args<'_>) -> Result<(), ConfError> {
    args.iter().try_for_each(|arg| no_variables(arg))?;
    let url = text(args[0])?;
    let mut connect = None;
    let mut limits = Limits { max_fails: 3, fail_timeout_ms: 10_000 };
    let mut backup = false;

    for arg in &args[1..] {
        let (name, value) = directive::parameter(arg);
        match name {
            b"max_fails" => limits.max_fails = u32::try_from(number(value)?).unwrap_or(u32::MAX),
            b"fail_timeout" => limits.fail_timeout_ms = positive_time(value)?,
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

    let endpoint =
        Endpoint::parse(url, connect).map_err(|error| ConfError::Directive(error.to_string()))?;
    let mut identity = url.as_bytes().to_vec();
    identity.push(0);
    identity.extend_from_slice(connect.unwrap_or_default().as_bytes());
    push(
        &mut conf.endpoints,
        EndpointSetting { endpoint: Arc::new(endpoint), identity, limits, backup },
    );
    Ok(())
}

fn bypass(cf: &mut Cf<'_>, conf: &mut LocConf, args: Args<'_>) -> Result<(), ConfError> {
    let mut values = Vec::new();
    for arg in args {
        let doubt = match directive::maker(arg, directive::is_clients) {
            Maker::Client => {
                return Err(invalid(
                    arg,
                    "any client can set it and pass without a token; derive the condition with map",
                ));
            }
            Maker::Both => Some("any client can set some of it, and pass without a token"),
            Maker::Operator if holds(arg, |name| name == b"remote_user") => {
                Some("any client can send a name: auth_basic has not judged it yet")
            }
            Maker::Operator if holds(arg, directive::is_never_empty) => {
                Some("it is never empty, and every request passes without a token")
            }
            Maker::Operator => None,
        };
        if let Some(doubt) = doubt {
            let (value, place) = (String::from_utf8_lossy(arg), cf.line());
            cf.warn_once(format!(
                "\"phantom_token_bypass\" has a doubtful value \"{value}\": {doubt}; derive the condition with map, in {place}"
            ));
        }
        values.push(cf.complex_value(arg)?);
    }
    once(&mut conf.bypass, Rc::new(values))
}

/// Whether one of a value's variables is such a one.
fn holds(value: &[u8], is_such: impl Fn(&[u8]) -> bool) -> bool {
    directive::variables(value).any(|name| is_such(&name.to_ascii_lowercase()))
}

/// `NAME VALUE [nokey]`.
fn extra(cf: &mut Cf<'_>, directive: &str, args: Args<'_>) -> Result<Extra, ConfError> {
    let keyed = match args.get(2) {
        None => true,
        Some(&b"nokey") => false,
        Some(other) => return Err(invalid(other, "write nokey or nothing")),
    };
    if !directive::is_header_value(args[1]) {
        return Err(ConfError::directive("has a control byte in its value: leave it out"));
    }
    if keyed && directive::maker(args[1], directive::is_free) == Maker::Client {
        let place = cf.line();
        let value = String::from_utf8_lossy(args[1]).into_owned();
        cf.warn_once(format!(
            "\"{directive}\" makes \"{value}\", which any client can set, part of the cache key: write nokey if the answer does not depend on it, in {place}"
        ));
    }
    Ok(Extra { name: text(args[0])?.into(), value: cf.complex_value(args[1])?, keyed })
}

fn introspection_header(
    cf: &mut Cf<'_>,
    conf: &mut LocConf,
    args: Args<'_>,
) -> Result<(), ConfError> {
    if !directive::is_header_name(args[0]) {
        return Err(invalid(args[0], "write the name of a header"));
    }
    if directive::is_own_header(args[0]) {
        return Err(invalid(args[0], "the module sets this header itself"));
    }
    let header = extra(cf, "phantom_token_introspection_header", args)?;
    push(&mut conf.headers, header);
    Ok(())
}

fn introspection_param(
    cf: &mut Cf<'_>,
    conf: &mut LocConf,
    args: Args<'_>,
) -> Result<(), ConfError> {
    nonempty(args[0])?;
    if args[0] == b"token" {
        return Err(invalid(args[0], "the module sets this parameter itself"));
    }
    if args[0] == b"token_type_hint" && directive::variables(args[1]).next().is_none() {
        warn_of_hint(cf, "phantom_token_introspection_param token_type_hint", args[1]);
    }
    let param = extra(cf, "phantom_token_introspection_param", args)?;
    push(&mut conf.params, param);
    Ok(())
}

/// Some servers look for no other kind of token than the hint says.
fn warn_of_hint(cf: &mut Cf<'_>, directive: &str, hint: &[u8]) {
    if hint != b"access_token" {
        let (hint, place) = (String::from_utf8_lossy(hint).into_owned(), cf.line());
        cf.warn_once(format!(
            "\"{directive} {hint}\": some servers then call every access token inactive; write access_token, in {place}"
        ));
    }
}

fn zone_name(name: &[u8]) -> Result<String, ConfError> {
    directive::zone_name(name)
        .map(str::to_owned)
        .ok_or_else(|| invalid(name, "write a zone's name of letters, digits, _, - and ."))
}

fn cache_zone(cf: &mut Cf<'_>, conf: &mut MainConf, args: Args<'_>) -> Result<(), ConfError> {
    let (name, bytes) =
        directive::zone(args[0]).ok_or_else(|| invalid(args[0], "write zone=NAME:SIZE"))?;
    let name = zone_name(name)?;
    if name == "off" {
        return Err(invalid(
            name.as_bytes(),
            "\"phantom_token_cache off\" means no cache; choose another name",
        ));
    }
    let bytes = size(bytes)?;
    if conf.zones.iter().any(|zone| zone.name() == name) {
        return Err(ConfError::Directive(format!("declares the zone \"{name}\" a second time")));
    }
    let zone = Zone::declare(cf, &name, bytes)?;
    conf.zones.push(zone);
    Ok(())
}

fn content_handler(cf: &mut Cf<'_>, handler: ContentHandler) -> Result<(), ConfError> {
    cf.set_content_handler(handler);
    cf.use_state_zone()
}
