//! The module's variables, for logs, `map` and upstream headers.

use core::ffi::c_void;

use phantom_token_engine::answer::claims::{self, ClaimValue};
use phantom_token_engine::shared::state::Notice;
use phantom_token_engine::token::key::hash_of;

use crate::access::ctx::Ctx;
use crate::flight::Made;
use crate::nginx::guard;
use crate::nginx::log::info;
use crate::nginx::request::Request;
use crate::nginx::sys::*;
use crate::worker;

/// Common to the names of all claims' variables.
const CLAIM: &[u8] = b"phantom_token_claim_";

type Get = unsafe extern "C" fn(
    *mut ngx_http_request_t,
    *mut ngx_http_variable_value_t,
    usize,
) -> ngx_int_t;

/// A variable with a name of its own, and how its value is found.
type Named = (&'static [u8], fn(&Ctx) -> Option<Vec<u8>>);

const NAMED: [Named; 7] = [
    (b"phantom_token_status", |ctx| Some(ctx.status?.status().as_bytes().to_vec())),
    (b"phantom_token_reason", |ctx| nonempty(ctx.reason.as_bytes())),
    (b"phantom_token_unmet", |ctx| nonempty(&ctx.unmet)),
    (b"phantom_token_id", |ctx| Some(ctx.token?.id().into_bytes())),
    (b"phantom_token_introspection_time", |ctx| {
        let ms = ctx.introspection_ms?;
        Some(format!("{}.{:03}", ms / 1000, ms % 1000).into_bytes())
    }),
    (b"phantom_token_introspection_status", |ctx| {
        calls(ctx, |call| call.status.map_or_else(|| "-".to_owned(), |status| status.to_string()))
    }),
    (b"phantom_token_endpoint", |ctx| calls(ctx, |call| call.endpoint.label().to_owned())),
];

fn nonempty(text: &[u8]) -> Option<Vec<u8>> {
    (!text.is_empty()).then(|| text.to_vec())
}

/// A list as NGINX writes those of upstreams: one pass's calls parted by commas, passes by colons.
fn calls(ctx: &Ctx, show: impl Fn(&Made) -> String) -> Option<Vec<u8>> {
    let passes = ctx.calls.iter().map(|calls| calls.iter().map(&show).collect::<Vec<_>>());
    let passes: Vec<_> = passes.filter(|calls| !calls.is_empty()).map(|c| c.join(", ")).collect();
    nonempty(passes.join(" : ").as_bytes())
}

/// Adds the variables, before the configuration that may use them is read.
pub(crate) unsafe extern "C" fn preconfiguration(cf: *mut ngx_conf_t) -> ngx_int_t {
    guard::entry("the variables", guard::cycle_log, ERROR, || add(cf))
}

fn add(cf: *mut ngx_conf_t) -> ngx_int_t {
    let named = NAMED.iter().enumerate().map(|(at, (name, _))| (*name, named as Get, 0, at));
    let prefix = (CLAIM, claim as Get, NGX_HTTP_VAR_PREFIX, 0);
    for (name, get, flags, data) in named.chain([prefix]) {
        let mut name = str_of(name);
        let flags = flags | NGX_HTTP_VAR_NOCACHEABLE;
        // SAFETY: the parser is live; NGINX copies the name in lower case.
        unsafe {
            match ngx_http_add_variable(cf, &mut name, flags as ngx_uint_t).as_mut() {
                Some(variable) => {
                    variable.get_handler = Some(get);
                    variable.data = data;
                }
                None => return ERROR,
            }
        }
    }
    OK
}

/// Gives a variable's value. Not cached before the request is decided: it may be asked for anew.
///
/// # Safety
/// `r` and `v` must be what NGINX passed to a variable's handler.
unsafe fn give(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    value: impl FnOnce(Request, &Ctx) -> Option<Vec<u8>>,
) -> ngx_int_t {
    // SAFETY: NGINX passes a live request.
    let r = unsafe { Request::new(r) };
    guard::entry(
        "a variable",
        || r.log(),
        ERROR,
        || {
            // Subrequests (SSI, mirror) show what was decided for their request.
            // SAFETY: a live request has a live main request.
            let main = unsafe { Request::new(r.raw().main) };
            let value = Ctx::find(main).and_then(|ctx| value(r, ctx));
            // SAFETY: the slot is NGINX's; the text is copied into the request's pool.
            unsafe {
                match value {
                    None => pt_variable_not_found(v),
                    Some(text) => match pool_copy(r.pool(), &text) {
                        Some(copy) => pt_variable_set(v, copy.data, copy.len, 0),
                        None => return ERROR,
                    },
                }
            }
            OK
        },
    )
}

/// `at`: where the variable stands in [`NAMED`].
unsafe extern "C" fn named(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    at: usize,
) -> ngx_int_t {
    // SAFETY: NGINX's own call.
    unsafe { give(r, v, |_, ctx| NAMED.get(at)?.1(ctx)) }
}

unsafe extern "C" fn claim(
    r: *mut ngx_http_request_t,
    v: *mut ngx_http_variable_value_t,
    data: usize,
) -> ngx_int_t {
    // SAFETY: NGINX passes the variable's whole name to the handler of a prefix variable, as an
    // ngx_str_t that lives as long as the configuration.
    let name = unsafe { bytes(&*(data as *const c_void).cast::<ngx_str_t>()) };
    let name = name.get(CLAIM.len()..).unwrap_or_default();
    // SAFETY: NGINX's own call.
    unsafe {
        give(r, v, |r, ctx| {
            let grant = ctx.grants.last()?;
            match claims::lookup(grant.claims(), grant.jwt(), name) {
                ClaimValue::Absent => None,
                ClaimValue::Text(text) => Some(text),
                ClaimValue::Unprintable => {
                    let first = worker::with(|worker| {
                        let hash = hash_of(&[name]);
                        worker.state.once(Notice::UnprintableClaim, hash, now_ms(), Some(60_000))
                    });
                    if first == Some(true) {
                        info!(
                            r.log(),
                            "a claim asked for as a variable holds a control byte, and is left empty"
                        );
                    }
                    None
                }
            }
        })
    }
}
