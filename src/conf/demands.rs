//! What a location demands of a token, and what it forwards.

pub(crate) mod require;
pub(crate) mod scope;
pub(crate) mod step_up;

use std::rc::Rc;

use phantom_token_engine::answer::Forward;
use phantom_token_engine::answer::nature::Accepts;

use crate::conf::doubts;
use crate::conf::noted::Noted;
use crate::conf::request::Extras;
use crate::conf::settings::{IF, MSL, Repeated, Setting, choose, claim_value, inherit};
use crate::nginx::command::Command;
use crate::nginx::parser::{Cf, ConfigLine};
use crate::nginx::sys::*;
use require::Requirement;
use scope::Scope;
use step_up::StepUp;

/// Of a directive that demands something of tokens, where no location judges them by it.
const UNUSED: &str = "no location goes by it; write \"phantom_token on\"";

/// What to do with a DPoP-bound token that is presented as a Bearer token (RFC 9449 §7.2).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum BoundTokens {
    Reject,
    Pass,
}

#[derive(Default)]
pub(crate) struct Settings {
    pub(super) scope: Setting<Rc<Scope>>,
    pub(super) require: Repeated<Requirement>,
    pub(super) bound_tokens: Setting<BoundTokens>,
    pub(super) kind: Setting<Accepts>,
    pub(super) audience: Setting<Rc<[Box<str>]>>,
    /// `None`: off.
    pub(super) step_up: Setting<Option<Rc<StepUp>>>,
    pub(super) forward: Setting<Forward>,
    pub(super) noted: Noted,
}

impl Settings {
    pub(super) fn inherit(&mut self, outer: &Self) {
        inherit!(self from outer:
            scope, require, bound_tokens, kind, audience, step_up, forward, noted);
    }

    /// Before inheriting: who demands more of tokens further in may mean both to count.
    pub(super) fn warn_of_replaced(&self, cf: &mut Cf<'_>, outer: &Self) {
        if let (Some(own), Some(replaced)) = (self.scope.placed(), outer.scope.placed())
            && !own.value.implies(&replaced.value)
        {
            let lost = replaced.value.sources();
            cf.warn_of_replaced("phantom_token_scope", &own.line, &replaced.line, &lost);
        }
        if let Some(own) = self.require.placed().next() {
            let repeated: Vec<_> = self.require.iter().flat_map(Requirement::sources).collect();
            for replaced in outer.require.placed() {
                let lost = replaced.value.sources().filter(|value| !repeated.contains(value));
                let lost: Vec<_> = lost.collect();
                if !lost.is_empty() {
                    cf.warn_of_replaced("phantom_token_require", &own.line, &replaced.line, &lost);
                }
            }
        }
    }
}

impl Settings {
    /// Whoever forwards no JWT of the server has it to the server what kinds of tokens it calls active.
    pub(super) fn notice_open_kinds(&self, cf: &mut Cf<'_>, extras: &Extras) {
        let Some(forward) = self.forward.placed() else { return };
        let word = match forward.value {
            Forward::Jwt => return,
            Forward::None => "none",
            Forward::Mint => "mint",
        };
        if self.kind.or(Accepts::default()) == Accepts::Access && !extras.names_kind() {
            cf.notice_at(&forward.line, format_args!(
                "\"phantom_token_forward {word}\" without phantom_token_token_type_hint and \"phantom_token_kind declared\": where the server calls refresh tokens, ID tokens or unused codes active too, they pass; write \"phantom_token_token_type_hint access_token\" for servers that then look for access tokens alone (Glewlwyd, Canaille, better-auth), \"phantom_token_kind declared\" for those that name the kind of access tokens (Spring, oidc-provider, MITREid Connect, Hydra, Keycloak)"
            ));
        }
    }
}

impl Cf<'_> {
    fn warn_of_replaced(
        &mut self,
        directive: &str,
        own: &ConfigLine,
        outer: &ConfigLine,
        lost: &[&[u8]],
    ) {
        let lost = lost.join(&b' ');
        let lost = String::from_utf8_lossy(&lost);
        self.warn_at(
            own,
            format_args!(
                "\"{directive}\" replaces that of {outer}, and \"{lost}\" is not demanded here: repeat it if it shall be"
            ),
        );
    }
}

pub(super) const COMMANDS: &[Command<Settings>] = &[
    Command::new(
        c"phantom_token_scope",
        MSL | IF | NGX_CONF_1MORE,
        "VALUE ... [match=all | any]",
        scope::scope,
    ),
    Command::new(
        c"phantom_token_require",
        MSL | IF | NGX_CONF_1MORE,
        "STRING ... [error=401 | 403]",
        require::require,
    ),
    Command::new(
        c"phantom_token_bound_tokens",
        MSL | NGX_CONF_TAKE1,
        "reject | pass",
        |cf, settings, args| {
            let bound =
                choose(args[0], &[("reject", BoundTokens::Reject), ("pass", BoundTokens::Pass)])?;
            settings.bound_tokens.set(cf, bound)?;
            if bound == BoundTokens::Reject {
                settings.noted.note(cf, "phantom_token_bound_tokens", UNUSED);
            }
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_kind",
        MSL | NGX_CONF_TAKE1,
        "access | declared | any",
        |cf, settings, args| {
            let kinds = choose(
                args[0],
                &[
                    ("access", Accepts::Access),
                    ("declared", Accepts::Declared),
                    ("any", Accepts::Any),
                ],
            )?;
            settings.kind.set(cf, kinds)?;
            if kinds != Accepts::Any {
                settings.noted.note(cf, "phantom_token_kind", UNUSED);
            }
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_audience",
        MSL | NGX_CONF_1MORE,
        "STRING ...",
        |cf, settings, args| {
            let audiences =
                args.iter().map(|arg| claim_value(arg, "aud")).collect::<Result<_, _>>()?;
            doubts::list(cf, "phantom_token_audience", args, ": one of them is enough");
            settings.audience.set(cf, audiences)?;
            settings.noted.note(cf, "phantom_token_audience", UNUSED);
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_step_up",
        MSL | IF | NGX_CONF_1MORE,
        "off | [ACR ...] [max_age=TIME]",
        |cf, settings, args| {
            let step_up = StepUp::read(args)?;
            step_up::warn_of_doubts(cf, args);
            let is_on = step_up.is_some();
            settings.step_up.set(cf, step_up)?;
            if is_on {
                settings.noted.note(cf, "phantom_token_step_up", UNUSED);
            }
            Ok(())
        },
    ),
    Command::new(
        c"phantom_token_forward",
        MSL | NGX_CONF_TAKE1,
        "jwt | none | mint",
        |cf, settings, args| {
            let forward = choose(
                args[0],
                &[("jwt", Forward::Jwt), ("none", Forward::None), ("mint", Forward::Mint)],
            )?;
            settings.forward.set(cf, forward)
        },
    ),
];
