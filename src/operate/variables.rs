//! The module's variables, for logs, `map` and upstream headers.

use phantom_token_engine::answer::claims::{self, ClaimValue};
use phantom_token_engine::shared::state::Notice;
use phantom_token_engine::token::key::hash_of;

use crate::access::ctx::Ctx;
use crate::conf::LocConf;
use crate::flight::Made;
use crate::flight::desk;
use crate::nginx::log::info;
use crate::nginx::request::Request;
use crate::nginx::sys::now_ms;
use crate::nginx::variables::{Named, Variables};

/// The variables of `phantom_token_…`.
pub(crate) struct OwnVariables;

impl Variables for OwnVariables {
    const NAMED: &'static [Named] = &[
        (b"phantom_token_status", |r| of(r, |ctx| Some(ctx.status?.status().as_bytes().to_vec()))),
        (b"phantom_token_reason", |r| of(r, |ctx| nonempty(ctx.reason.word().as_bytes()))),
        (b"phantom_token_unmet", |r| of(r, |ctx| nonempty(&ctx.unmet))),
        (b"phantom_token_id", |r| of(r, |ctx| Some(ctx.token?.id().into_bytes()))),
        (b"phantom_token_provider", |r| {
            let policy = LocConf::of(r).policy.as_ref()?;
            nonempty(policy.introspection.provider.as_ref()?.as_bytes())
        }),
        (b"phantom_token_introspection_time", |r| {
            let ms = of(r, |ctx| ctx.introspection_ms)?;
            Some(format!("{}.{:03}", ms / 1000, ms % 1000).into_bytes())
        }),
        (b"phantom_token_introspection_status", |r| {
            let status =
                |status: Option<u16>| status.map_or_else(|| "-".to_owned(), |s| s.to_string());
            of(r, |ctx| calls(ctx, |call| status(call.status)))
        }),
        (b"phantom_token_endpoint", |r| {
            of(r, |ctx| calls(ctx, |call| call.endpoint.label().to_owned()))
        }),
    ];

    const PREFIX: &'static [u8] = b"phantom_token_claim_";

    fn prefixed(r: Request, name: &[u8]) -> Option<Vec<u8>> {
        of(r, |ctx| claim(r, ctx, name))
    }
}

/// What is found in a request's context, where it has one.
fn of<T>(r: Request, value: impl FnOnce(&Ctx) -> Option<T>) -> Option<T> {
    value(&*Ctx::find(&r)?)
}

fn nonempty(text: &[u8]) -> Option<Vec<u8>> {
    (!text.is_empty()).then(|| text.to_vec())
}

/// A list as NGINX writes those of upstreams: one pass's calls parted by commas, passes by colons.
fn calls(ctx: &Ctx, show: impl Fn(&Made) -> String) -> Option<Vec<u8>> {
    let passes = ctx.calls.iter().map(|calls| calls.iter().map(&show).collect::<Vec<_>>());
    let passes: Vec<_> = passes.filter(|calls| !calls.is_empty()).map(|c| c.join(", ")).collect();
    nonempty(passes.join(" : ").as_bytes())
}

/// A claim of the token that was let in.
fn claim(r: Request, ctx: &Ctx, name: &[u8]) -> Option<Vec<u8>> {
    let grant = ctx.grants.last()?;
    match claims::lookup(grant.claims(), grant.jwt(), name) {
        ClaimValue::Absent => None,
        ClaimValue::Text(text) => Some(text),
        ClaimValue::Unprintable => {
            let first = desk::with(|desk| {
                let hash = hash_of(&[name]);
                desk.worker.state.once(Notice::UnprintableClaim, hash, now_ms(), Some(60_000))
            });
            if first == Some(true) {
                info!(r, "a claim asked for as a variable holds a control byte, and is left empty");
            }
            None
        }
    }
}
