//! `phantom_token_ready`: whether the authorization servers can be asked, for whoever sends traffic here.

use phantom_token_engine::shared::health::Availability;
use phantom_token_engine::shared::state::State;

use crate::conf::introspection::Introspection;
use crate::conf::request::Values;
use crate::conf::{LocConf, MainConf};
use crate::nginx::handlers::Handler;
use crate::nginx::reply;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// The content handler of the readiness.
pub(crate) struct ReadyHandler;

impl Handler for ReadyHandler {
    const WHAT: &'static str = "the readiness handler";

    fn handle(r: Request) -> Result<ngx_int_t, NoMemory> {
        r.show(show)
    }
}

fn show(r: Request) -> Result<ngx_int_t, NoMemory> {
    let main = MainConf::of(r);
    let Some(state) = main.cache.state.as_ref().and_then(|zone| zone.view()) else {
        return Ok(NGX_HTTP_SERVICE_UNAVAILABLE as ngx_int_t);
    };
    let named = LocConf::of(r).operate.ready.get().map_or(&[][..], |named| named);
    let mut lines = String::new();
    for server in main.servers_asked(named) {
        if let Some(word) = unready(server, &state) {
            let whose = server.provider.as_deref();
            let whose = whose.or_else(|| Some(server.endpoints.first()?.endpoint.label()));
            let line = format!("{word} {}\n", whose.unwrap_or_default());
            // One that is asked in two ways is one server.
            if lines.lines().all(|said| said != line.trim_end()) {
                lines.push_str(&line);
            }
        }
    }
    let (status, body) = match lines.is_empty() {
        true => (NGX_HTTP_OK, "ready\n"),
        false => (NGX_HTTP_SERVICE_UNAVAILABLE, &lines[..]),
    };
    reply::send(r, status, b"text/plain", &[], body.as_bytes())
}

/// Why no endpoint of a server can be asked, in a word; `None` where one can.
fn unready(server: &Introspection, state: &State) -> Option<&'static str> {
    let (none, now) = (Values::new(), now_ms());
    let mut reason = "resting";
    for endpoint in &server.endpoints {
        let id = endpoint.id(state);
        if state.endpoints().available(id, &endpoint.limits, now) == Availability::Resting {
            continue;
        }
        // Where requests differ in what the server judges credentials by, each has a gate of its own.
        if server.gate_varies()
            || !state.gates().is_shut(server.gate(state, endpoint, &none, &none), now)
        {
            return None;
        }
        reason = "credentials";
    }
    Some(reason)
}
