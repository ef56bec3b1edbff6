//! The module's variables, for logs, `map` and upstream headers.

use phantom_token_engine::answer::claims::{ClaimValue, Wanted};
use phantom_token_engine::shared::state::Notice;
use phantom_token_engine::token::key::hash_of;

use crate::access::ctx::Ctx;
use crate::access::early;
use crate::conf::{LocConf, MainConf};
use crate::flight::Made;
use crate::flight::desk;
use crate::nginx::log::info;
use crate::nginx::request::Request;
use crate::nginx::sys::now_ms;
use crate::nginx::variables::{Asked, Named, Variables};

/// The variables of `phantom_token_…`.
pub(crate) struct OwnVariables;

impl Variables for OwnVariables {
    const NAMED: &'static [Named] = &[
        (b"phantom_token_status", |asked| {
            of(asked, |ctx| Some(ctx.status?.status().as_bytes().to_vec()))
        }),
        (b"phantom_token_reason", |asked| of(asked, |ctx| nonempty(ctx.reason.word().as_bytes()))),
        (b"phantom_token_unmet", |asked| of(asked, |ctx| nonempty(&ctx.unmet))),
        (b"phantom_token_claims", |asked| of(asked, |ctx| claim(asked, ctx, Wanted::All))),
        (b"phantom_token_store_status", |asked| {
            of(asked, |ctx| Some(ctx.store?.status().as_bytes().to_vec()))
        }),
        (b"phantom_token_id", |asked| of(asked, |ctx| Some(ctx.token?.id().into_bytes()))),
        // The configuration's to say, and not the decision's; but a `map` may keep an earlier location's.
        (b"phantom_token_provider", |asked| {
            early::note(asked);
            let policy = LocConf::of(asked.r).policy.as_ref()?;
            nonempty(policy.introspection.provider.as_ref()?.as_bytes())
        }),
        (b"phantom_token_introspection_time", |asked| {
            let ms = of(asked, |ctx| ctx.introspection_ms)?;
            Some(format!("{}.{:03}", ms / 1000, ms % 1000).into_bytes())
        }),
        (b"phantom_token_introspection_status", |asked| {
            let status =
                |status: Option<u16>| status.map_or_else(|| "-".to_owned(), |s| s.to_string());
            of(asked, |ctx| calls(ctx, |call| status(call.status)))
        }),
        (b"phantom_token_endpoint", |asked| {
            of(asked, |ctx| calls(ctx, |call| call.endpoint.label().to_owned()))
        }),
    ];

    const PREFIX: &'static [u8] = b"phantom_token_claim_";

    fn prefixed(asked: Asked<'_>, rest: &[u8]) -> Option<Vec<u8>> {
        of(asked, |ctx| claim(asked, ctx, Wanted::Named(rest)))
    }

    fn configured(r: Request, index: usize) -> Option<Vec<u8>> {
        let set = MainConf::of(r).claim_sets.all.get(index)?;
        let asked = Asked { r, name: &set.variable };
        if !early::is_settled(asked) {
            return None;
        }
        let found = Ctx::find(&r).and_then(|ctx| claim(asked, &ctx, Wanted::At(&set.path)));
        // What no token says is not so.
        found.or_else(|| set.path.is_test().then(|| b"0".to_vec()))
    }

    fn failed(r: Request) {
        if let Some(mut ctx) = Ctx::of_this_pass(&r) {
            ctx.variable_failed();
        }
    }
}

/// What is found in a request's context, where it has one, and its token is judged.
fn of<T>(asked: Asked<'_>, value: impl FnOnce(&Ctx) -> Option<T>) -> Option<T> {
    if !early::is_settled(asked) {
        return None;
    }
    value(&*Ctx::find(&asked.r)?)
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

/// A claim of the token that was let in, or is being judged.
fn claim(asked: Asked<'_>, ctx: &Ctx, wanted: Wanted<'_>) -> Option<Vec<u8>> {
    ctx.shown()?.claim(wanted, |text| match text {
        ClaimValue::Absent => None,
        ClaimValue::Text(text) => Some(text.clone()),
        ClaimValue::Unprintable => {
            let first = desk::with(|desk| {
                let hash = hash_of(&[asked.name]);
                desk.worker.state.once(Notice::UnprintableClaim, hash, now_ms(), Some(60_000))
            });
            if first == Some(true) {
                info!(
                    asked.r,
                    "a claim asked for as a variable holds a control byte, and is left empty"
                );
            }
            None
        }
    })
}
