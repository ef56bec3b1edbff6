//! What the module keeps for one request, over its passes.

use core::cell::RefMut;
use std::rc::Rc;

use phantom_token_engine::failure::FailureKind;
use phantom_token_engine::local::Cached;
use phantom_token_engine::shared::counters::StoreResult;
use phantom_token_engine::shared::purges::Purges;
use phantom_token_engine::token::key::{Key, TokenHash};
use smallvec::SmallVec;

use crate::conf::Policy;
use crate::finding::Finding;
use crate::flight::desk;
use crate::flight::{Calls, Report, Wait};
use crate::nginx::context::{Context, Contexts};
use crate::nginx::request::{Evaluated, NoMemory, Request};
use crate::nginx::sys::*;
use crate::operate::counters::{self, RequestResult, UncachedReason};

static CONTEXTS: Contexts<Ctx> = Contexts::new();

/// An outcome that a request has learnt, and in which location.
pub(crate) struct Learnt {
    pub(crate) policy: Rc<Policy>,
    pub(crate) key: Key,
    pub(crate) finding: Finding,
    pub(crate) status: RequestResult,
}

impl Learnt {
    /// Whether it was purged since it was asked for.
    pub(super) fn is_purged(&self, purges: Option<Purges>) -> bool {
        match &self.finding {
            Finding::Active(grant) => !grant.standing(purges, &self.key.token).serves(now_ms()),
            _ => false,
        }
    }
}

/// What a decision of ours makes of the header.
#[derive(Clone, Copy)]
pub(crate) enum Rewrite {
    /// This value, followed by a NUL byte and kept for as long as the request lives.
    To(ngx_str_t),
    Remove,
}

/// What stands behind a rewrite of ours.
pub(crate) struct Original {
    pub(super) header: Option<ngx_table_elt_t>,
    pub(super) evaluated: Evaluated,
}

/// A question that came before the decision.
pub(crate) struct EarlyQuestion {
    /// The variable's name.
    pub(super) name: Box<[u8]>,
    /// The log says it only if the location that is found has the module on.
    pub(super) is_unsaid: bool,
}

/// A token that is being judged.
pub(crate) struct Candidate {
    pub(super) grant: Rc<Cached>,
    /// Before the operator's expressions looked at its claims.
    pub(super) evaluated: Evaluated,
    /// A variable could not be given its value: NGINX takes it for an empty one.
    pub(super) has_failed: bool,
}

/// A request's context.
#[derive(Default)]
pub(crate) struct Ctx {
    /// The introspection the request waits for.
    pub(crate) wait: Option<Wait>,
    /// What was learnt so far, latest last: nothing is asked twice for one request and identity.
    pub(crate) learnt: SmallVec<[Learnt; 1]>,
    /// What the last decision made of the request's `Authorization`; `None`: nothing.
    pub(crate) rewrite: Option<Rewrite>,
    /// The client's own, while ours is on the request.
    pub(crate) original: Option<Original>,
    /// What NGINX's headers point into: what each decision has let in, latest last.
    pub(crate) grants: SmallVec<[Rc<Cached>; 1]>,
    /// What stands behind the token that is being judged, for checks that read claims.
    pub(super) candidate: Option<Candidate>,
    /// The last decision let in the last of `grants`.
    pub(super) granted: bool,
    /// The reply this pass gave.
    pub(crate) reply: Option<Reply>,
    /// A pass was refused: headers of ours may be in the response.
    pub(crate) refused: bool,
    /// The connection was to be kept before NGINX saw our 500.
    pub(crate) keepalive: bool,
    /// It must not rely on what is kept (`phantom_token_cache_bypass`).
    pub(crate) refresh: bool,
    /// The token of this pass was judged, or none had to be.
    pub(crate) decided: bool,
    /// A variable that was asked for before the decision, whose value a `map` may keep.
    pub(super) early: Option<Box<EarlyQuestion>>,
    /// How often the request has asked anew, because what was known does not serve where it was.
    pub(crate) times_anew: u8,
    /// When this pass gives up what it asks, in monotonic milliseconds; `None` before it waits.
    pub(crate) deadline: Option<u64>,
    /// The outcome was counted.
    pub(crate) counted: bool,
    /// The end of the request ends the wait.
    pub(crate) has_cleanup: bool,
    pub(crate) status: Option<RequestResult>,
    pub(crate) reason: Reason,
    /// What the log line of a refusal says besides.
    pub(crate) detail: &'static str,
    /// Why the answer the request waited for was not kept.
    pub(crate) uncached: Option<UncachedReason>,
    /// What introspection cost this request, in milliseconds.
    pub(crate) introspection_ms: Option<u64>,
    /// The calls that were made for it, those of each pass together.
    pub(crate) calls: SmallVec<[Calls; 1]>,
    /// What the store of the fleet said, where it was asked for this pass.
    pub(crate) store: Option<StoreResult>,
    /// The token of this pass.
    pub(crate) token: Option<TokenHash>,
    /// What the token lacks.
    pub(crate) unmet: Vec<u8>,
}

/// Why the last decision came out as it did (`$phantom_token_reason`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Reason {
    /// There is nothing to say.
    #[default]
    None,
    /// No token in the request.
    Missing,
    /// What is presented, or goes along with it, cannot be sent.
    Malformed,
    /// The token is bound to a key of its client's.
    Bound,
    /// The token is of another kind.
    Kind,
    /// The token is of another issuer, or of none.
    Issuer,
    /// The token is for another audience, or for none.
    Audience,
    /// The token's user must be authenticated anew.
    StepUp,
    /// A variable was asked for before the token was judged, and may be what would decide.
    Early,
    /// The token lacks a scope.
    Scope,
    /// The token does not meet a requirement.
    Require,
    /// The token is not active.
    Inactive,
    /// The client left first.
    ClientClosed,
    /// Nothing was learnt about the token.
    Failed(FailureKind),
    /// The request went on, and its answer was not kept.
    Uncached(UncachedReason),
}

impl Reason {
    /// The variable's value; empty for [`Self::None`].
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Bound => "bound",
            Self::Kind => "kind",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::StepUp => "step_up",
            Self::Early => "early",
            Self::Scope => "scope",
            Self::Require => "require",
            Self::Inactive => "inactive",
            Self::ClientClosed => "client_closed",
            Self::Failed(kind) => kind.word(),
            Self::Uncached(reason) => reason.word(),
        }
    }
}

/// A reply of ours: the status given to NGINX, and the body that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) status: u32,
    pub(crate) body: &'static [u8],
    /// The filter has put the headers in, and the body is to follow.
    pub(crate) sending: bool,
    /// The body has gone out.
    pub(crate) sent: bool,
}

impl Ctx {
    /// The context of this pass, or of an earlier one.
    ///
    /// It must not be held while NGINX evaluates variables, which take it too.
    pub(crate) fn find(r: &Request) -> Option<RefMut<'_, Self>> {
        CONTEXTS.find(r)
    }

    /// The context of this pass alone. As [`Self::find`].
    pub(crate) fn of_this_pass(r: &Request) -> Option<RefMut<'_, Self>> {
        CONTEXTS.in_slot(r)
    }

    /// The context of an earlier pass alone. As [`Self::find`].
    pub(crate) fn of_earlier_pass(r: &Request) -> Option<RefMut<'_, Self>> {
        CONTEXTS.earlier(r)
    }

    /// The request's context, made where there is none as if an earlier pass had: this one's decision
    /// does not begin with it. As [`Self::find`].
    pub(crate) fn find_or_make(r: &Request) -> Result<RefMut<'_, Self>, NoMemory> {
        CONTEXTS.find_or_make(r)
    }

    /// The request's context, made where there is none. As [`Self::find`].
    #[inline]
    pub(crate) fn of(r: &Request) -> Result<RefMut<'_, Self>, NoMemory> {
        match CONTEXTS.in_slot(r) {
            Some(ctx) => Ok(ctx),
            None => Self::enter(r),
        }
    }

    fn enter(r: &Request) -> Result<RefMut<'_, Self>, NoMemory> {
        let mut ctx = CONTEXTS.enter(r)?;
        // A new pass: what the last one waited for or replied is over.
        ctx.wait = None;
        ctx.decided = false;
        ctx.reply = None;
        Ok(ctx)
    }

    /// What was learnt of a token and identity earlier in the request. `key_as_of` gives their key in
    /// the zone of another location.
    pub(crate) fn learnt(&self, key_as_of: impl Fn(&Policy) -> Key) -> Option<&Learnt> {
        self.learnt.iter().rev().find(|known| known.key == key_as_of(&known.policy))
    }

    /// Forgets what the last decision said, before the next one.
    pub(crate) fn begin_decision(&mut self) {
        self.decided = false;
        self.reason = Reason::None;
        self.detail = "";
        self.status = None;
        self.token = None;
        self.store = None;
        self.deadline = None;
        self.unmet.clear();
        // What an earlier pass was granted is not for the error page of this one.
        self.rewrite = None;
        self.granted = false;
    }

    /// Whose claims the variables show: those of the token that is being judged, for its checks alone,
    /// and then those of the one that was let in last.
    pub(crate) fn shown(&self) -> Option<&Rc<Cached>> {
        let judged = self.candidate.as_ref().map(|candidate| &candidate.grant);
        judged.or_else(|| self.grants.last().filter(|_| self.granted))
    }

    /// One of the variables could not be given its value.
    pub(crate) fn variable_failed(&mut self) {
        if let Some(candidate) = &mut self.candidate {
            candidate.has_failed = true;
        }
    }

    /// Keeps what is told with a finding, and how long the request has waited for it, for the log.
    pub(crate) fn note(&mut self, report: Report, waited_ms: u64) {
        // What the store knew took no introspection.
        if !report.from_store {
            self.introspection_ms = Some(self.introspection_ms.unwrap_or(0) + waited_ms);
        }
        self.calls.push(report.calls);
        self.uncached = report.uncached;
        self.store = report.store;
    }

    /// Counts the request's outcome: one for each request that met the module, the first.
    pub(crate) fn count(&mut self) {
        if let (Some(status), false) = (self.status, self.counted) {
            self.counted = true;
            desk::with(|desk| counters::request(&desk.worker, status));
        }
    }

    /// Ends the wait when NGINX ends the request, which is before its pool is destroyed.
    pub(crate) fn end_wait_with_request(&mut self, r: &Request) -> Result<(), NoMemory> {
        if !self.has_cleanup {
            CONTEXTS.tell_of_end(r)?;
            self.has_cleanup = true;
        }
        Ok(())
    }
}

impl Context for Ctx {
    fn ended(&mut self) {
        if let Some(wait) = self.wait.take() {
            self.note(wait.report(), wait.elapsed_ms());
            // The client has left before its token was judged.
            self.status = Some(RequestResult::Error);
            self.reason = Reason::ClientClosed;
            self.count();
        }
        // NGINX has emptied the list this was on.
        self.has_cleanup = false;
    }
}
