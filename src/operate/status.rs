//! `phantom_token_status`: the numbers, for Prometheus, for programs and for people.

use phantom_token_engine::metrics::{Build, Snapshot, ZoneEntries, ZoneFacts};

use crate::conf::operate::Format;
use crate::conf::{LocConf, MainConf};
use crate::nginx::handlers::Handler;
use crate::nginx::reply;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// The page for people: self-contained, and it polls the JSON.
const PAGE: &[u8] = include_bytes!("status/page.html");
const PAGE_POLICY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/page-policy.txt"));

/// The content handler of the numbers.
pub(crate) struct StatusHandler;

impl Handler for StatusHandler {
    const WHAT: &'static str = "the status handler";

    fn handle(r: Request) -> Result<ngx_int_t, NoMemory> {
        r.show(show)
    }
}

fn show(r: Request) -> Result<ngx_int_t, NoMemory> {
    let format = match asked_format(r) {
        Ok(asked) => {
            asked.or(LocConf::of(r).operate.status.get().copied()).unwrap_or(Format::Prometheus)
        }
        Err(()) => return Ok(NGX_HTTP_BAD_REQUEST as ngx_int_t),
    };
    let Some(text) = numbers(r, format) else {
        return Ok(NGX_HTTP_SERVICE_UNAVAILABLE as ngx_int_t);
    };
    let nosniff = (&b"X-Content-Type-Options"[..], &b"nosniff"[..]);
    match format {
        Format::Prometheus => reply::send(
            r,
            NGX_HTTP_OK,
            Snapshot::PROMETHEUS_TYPE.as_bytes(),
            &[nosniff],
            text.as_bytes(),
        ),
        Format::Json => {
            reply::send(r, NGX_HTTP_OK, b"application/json", &[nosniff], text.as_bytes())
        }
        Format::Html => {
            let headers = [
                nosniff,
                (&b"Content-Security-Policy"[..], PAGE_POLICY),
                (b"Referrer-Policy", b"no-referrer"),
            ];
            reply::send(r, NGX_HTTP_OK, b"text/html; charset=utf-8", &headers, PAGE)
        }
    }
}

/// `?format=…`; an error where it names none of the formats.
fn asked_format(r: Request) -> Result<Option<Format>, ()> {
    r.args()
        .split(|byte| *byte == b'&')
        .find_map(|arg| arg.strip_prefix(b"format="))
        .map_or(Ok(None), |name| Format::parse(name).map(Some).ok_or(()))
}

fn numbers(r: Request, format: Format) -> Option<String> {
    if format == Format::Html {
        return Some(String::new());
    }
    let main = MainConf::of(r);
    let state = main.cache.state.as_ref()?.view()?;
    let zones: Vec<_> = main
        .cache
        .zones
        .iter()
        .filter_map(|zone| {
            let stats = zone.arena()?.stats();
            Some(ZoneFacts {
                name: zone.name(),
                entries: ZoneEntries { active: stats.active, inactive: stats.inactive },
                used_bytes: stats.used_bytes,
                size_bytes: stats.size_bytes,
                evictions: stats.evictions,
            })
        })
        .collect();
    let build = r.tells_version().then_some(Build {
        version: env!("CARGO_PKG_VERSION"),
        nginx: env!("PHANTOM_TOKEN_NGINX_VERSION"),
    });
    let store = main.store.made.as_ref().map(|store| store.node.label());
    let in_use: Vec<_> = main.endpoints().filter_map(|endpoint| endpoint.id(&state)).collect();
    let in_use = |id| in_use.contains(&id);
    let mut snapshot = Snapshot::take(&state, &zones, build, store, in_use, here());
    snapshot.providers = main.provider_endpoints();
    Some(match format {
        Format::Json => snapshot.json(),
        _ => snapshot.prometheus(),
    })
}
