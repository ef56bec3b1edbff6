//! A purge through the store of the fleet: its request waits until the store has acknowledged it.
//!
//! A thread of its own tells the store, while one timer of the worker looks whether it is back. What the
//! store has acknowledged is kept for a while, and looked for once a second: a store that fails over may
//! have lost it.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Instant;

use phantom_token_engine::http::form::purge::Purge;
use phantom_token_engine::remedy;
use phantom_token_engine::shared::hearing::Hearing;
use phantom_token_engine::shared::state::Notice;
use phantom_token_engine::store::event::GatewayId;
use phantom_token_engine::store::purge::{Acknowledged, KEPT_MS, PurgeError};
use phantom_token_engine::store::{Epoch, Node, Store};

use super::errand::{self, Errand, Kept, Teller};
use crate::conf::MainConf;
use crate::fleet::Asked;
use crate::flight::desk::{self, Desk};
use crate::nginx::context::{Context, Contexts};
use crate::nginx::log::{Cycle, crit, error, warning};
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::suspension::{Awaited, Suspension};
use crate::nginx::sys::{exiting, now_ms};
use crate::nginx::timer::Timer;
use crate::operate::counters::{self, StorePurge};
use crate::worker::Worker;

/// Purges of a worker that are on their way, at most: in all, and before one that nobody has asked for.
/// Where a server calls all tokens inactive, what clients meet leaves room for who purges.
const MAX_OUT: usize = 32;
const MAX_OUT_UNASKED: usize = 16;

/// Purges that are kept, at most; the oldest go.
const MAX_KEPT: usize = 256;

/// Questions that one purge may take, of a store whose epoch changes meanwhile: as many times the
/// store's time limit it may take.
const QUESTIONS: u32 = 4;

/// Between two looks at what is on its way, and at what is kept, in milliseconds.
const LOOK_MS: u64 = 5;
const KEPT_LOOK_MS: u64 = 1_000;

/// What a thread may take beyond its deadline until its end is told, in milliseconds.
const GRACE_MS: u64 = 2_000;

static WAITS: Contexts<Waiting> = Contexts::new();

thread_local! {
    static OUT: RefCell<Option<Out>> = const { RefCell::new(None) };
}

/// Why the fleet may not know of a purge.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("{0}")]
    Store(PurgeError),
    #[error("too many purges are under way")]
    TooMany,
    #[error("no thread could be started")]
    NoThread,
    #[error("the store did not answer in time")]
    Late,
    #[error("this worker is not ready")]
    Unready,
    #[error("the module failed: see the error log")]
    Panicked,
}

/// A request's wait, as the request has it.
#[derive(Default)]
struct Waiting(Option<Rc<Waiter>>);

impl Context for Waiting {
    fn ended(&mut self) {}
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Before its request is freed, whatever else holds the waiter.
        if let Some(waiter) = &self.0 {
            drop(waiter.suspension.take());
        }
    }
}

/// What a request and its errand share.
struct Waiter {
    /// Whether it was forgotten here, in every zone.
    done_here: bool,
    end: RefCell<Option<Result<(), Refused>>>,
    suspension: RefCell<Option<Suspension>>,
}

impl Awaited for Waiter {
    fn time_is_over(&self) {
        self.end.borrow_mut().get_or_insert(Err(Refused::Late));
    }
}

/// How far a request is with the fleet.
pub(super) enum Told {
    /// It has not told it anything.
    No,
    /// It waits.
    NotYet,
    /// The fleet's word, and whether it was forgotten here.
    Yes { here: bool, fleet: Result<(), Refused> },
}

/// How far a request is.
pub(super) fn told(r: &Request) -> Told {
    let Some(waiting) = WAITS.earlier(r) else { return Told::No };
    let Some(waiter) = &waiting.0 else { return Told::No };
    match *waiter.end.borrow() {
        None => Told::NotYet,
        Some(fleet) => Told::Yes { here: waiter.done_here, fleet },
    }
}

/// Tells the fleet, where there is one, and suspends the request. `done_here`: it was forgotten in every
/// zone of this instance.
pub(super) fn tell(r: Request, purge: Purge, done_here: bool) -> Result<Told, NoMemory> {
    let Some(conf) = MainConf::of(r).store.made.as_ref() else { return Ok(Told::No) };
    let limit = QUESTIONS * conf.asked().timeout();
    let waiter =
        Rc::new(Waiter { done_here, end: RefCell::new(None), suspension: RefCell::new(None) });
    // Where there is no memory, nothing has begun.
    WAITS.beside(&r)?.0 = Some(Rc::clone(&waiter));
    let sent = OUT.with_borrow_mut(|out| {
        let hearing = desk::with(|desk| desk.worker.state.hearing()).ok_or(Refused::Unready)?;
        let out = out.get_or_insert_with(|| Out::new(conf.asked(), &conf.node));
        out.send(hearing, purge, Instant::now() + limit, Some(Rc::downgrade(&waiter)), MAX_OUT)
    });
    if let Err(refused) = sent {
        *waiter.end.borrow_mut() = Some(Err(refused));
        desk::with(|desk| say_refused(&desk.worker, &conf.node, refused, By::Request));
        return Ok(Told::Yes { here: done_here, fleet: Err(refused) });
    }
    let awaited: Weak<Waiter> = Rc::downgrade(&waiter);
    let ms = limit.as_millis() as u64 + GRACE_MS;
    *waiter.suspension.borrow_mut() = Some(Suspension::new(r, ms, awaited));
    Ok(Told::NotYet)
}

/// Tells the fleet that a token is over which other gateways may serve, for no request.
pub(crate) fn tell_of_token(desk: &Desk, token: &[u8]) {
    let Some(Asked { store, node, .. }) = desk.fleet.asked() else { return };
    let end = Instant::now() + QUESTIONS * store.timeout();
    let (hearing, purge) = (desk.worker.state.hearing(), Purge::Token(token.to_vec().into()));
    let sent = OUT.with_borrow_mut(|out| {
        let out = out.get_or_insert_with(|| Out::new(store, node));
        out.send(hearing, purge, end, None, MAX_OUT_UNASKED)
    });
    if let Err(refused) = sent {
        say_refused(&desk.worker, node, refused, By::Gateway);
    }
}

/// What a worker has told the store, and is telling it.
struct Out {
    timer: Timer,
    store: Arc<Store>,
    /// The store's server.
    node: Arc<Node>,
    on_their_way: Vec<Sent>,
    kept: Kept,
    /// A look at what was kept, which is away with it.
    second_look: Option<Errand<(Kept, usize)>>,
    /// When the next one is due, in monotonic milliseconds.
    next_second_look: u64,
}

/// A purge on its way.
struct Sent {
    errand: Errand<Result<Acknowledged, PurgeError>>,
    number: u64,
    /// The request that asked for it; `None`: the gateway tells what it has learnt.
    waiter: Option<Weak<Waiter>>,
}

impl Out {
    fn new(store: &Arc<Store>, node: &Arc<Node>) -> Self {
        let timer = Timer::new("looking after purges", || {
            OUT.with_borrow_mut(|out| desk::with(|desk| out.as_mut().map(|out| out.look(desk))));
        });
        Self {
            timer,
            store: Arc::clone(store),
            node: Arc::clone(node),
            on_their_way: Vec::new(),
            kept: Vec::new(),
            second_look: None,
            next_second_look: 0,
        }
    }

    /// Who tells the store. `None` where the system gives no random bytes.
    fn teller(&self, hearing: &Hearing) -> Option<Teller> {
        let fresh = u64::from_be_bytes(GatewayId::random()?.0).max(1);
        Some(Teller {
            store: Arc::clone(&self.store),
            epoch: hearing.heard().map(|heard| Epoch(heard.epoch)),
            gateway: GatewayId(hearing.gateway(fresh).to_be_bytes()),
            acknowledged: hearing.acknowledged(),
        })
    }

    /// Begins to tell the store, where fewer than `most` purges are on their way.
    fn send(
        &mut self,
        hearing: &Hearing,
        purge: Purge,
        deadline: Instant,
        waiter: Option<Weak<Waiter>>,
        most: usize,
    ) -> Result<(), Refused> {
        if self.on_their_way.len() >= most {
            return Err(Refused::TooMany);
        }
        let teller = self.teller(hearing).ok_or(Refused::Store(PurgeError::NoRandom))?;
        let number = hearing.next_told();
        let errand =
            errand::tell(teller, purge, number, deadline).map_err(|_| Refused::NoThread)?;
        self.on_their_way.push(Sent { errand, number, waiter });
        self.timer.reset_cancelable(LOOK_MS);
        Ok(())
    }

    /// Tells what is back, and looks for what is kept where that is due.
    fn look(&mut self, desk: &Desk) {
        let worker = &desk.worker;
        let (node, kept) = (&self.node, &mut self.kept);
        self.on_their_way.retain(|sent| {
            let Some(end) = sent.errand.end() else { return true };
            let told = match end {
                Ok(Ok(acknowledged)) => {
                    worker.state.hearing().acknowledge(sent.number);
                    kept.push((now_ms(), acknowledged));
                    counters::store_purged(worker, StorePurge::Sent);
                    Ok(())
                }
                Ok(Err(error)) => Err(Refused::Store(error)),
                Err(site) => {
                    crit!(Cycle, "caught a panic in a purge through the store at {site}");
                    Err(Refused::Panicked)
                }
            };
            if let Err(refused) = told {
                let by = if sent.waiter.is_some() { By::Request } else { By::Gateway };
                say_refused(worker, node, refused, by);
            }
            if let Some(waiter) = sent.waiter.as_ref().and_then(Weak::upgrade) {
                waiter.tell(told);
            }
            false
        });
        self.look_again(worker);
        if !self.on_their_way.is_empty() {
            self.timer.reset_cancelable(LOOK_MS);
        } else if self.second_look.is_some() || !self.kept.is_empty() {
            self.timer.reset_cancelable(KEPT_LOOK_MS / 4);
        }
    }

    /// Looks for what is kept, and tells it again where the store has lost it.
    fn look_again(&mut self, worker: &Worker) {
        let now = now_ms();
        if let Some(second_look) = &self.second_look {
            let Some(end) = second_look.end() else { return };
            self.second_look = None;
            match end {
                Ok((mut kept, told_again)) => {
                    if told_again > 0 && worker.is_due(Notice::PurgeLost, "") {
                        warning!(
                            Cycle,
                            "the store \"{}\" has lost purges that it had acknowledged, and was told them again: see that its replicas follow, and that nobody empties it",
                            self.node.label()
                        );
                    }
                    kept.append(&mut self.kept);
                    self.kept = kept;
                }
                Err(site) => crit!(Cycle, "caught a panic in a second look at purges at {site}"),
            }
        }
        self.kept.retain(|(told_ms, _)| now.saturating_sub(*told_ms) < KEPT_MS);
        self.kept.drain(..self.kept.len().saturating_sub(MAX_KEPT));
        if self.kept.is_empty() || now < self.next_second_look || exiting() {
            return;
        }
        self.next_second_look = now + KEPT_LOOK_MS;
        let deadline = Instant::now() + QUESTIONS * self.store.timeout();
        let Some(teller) = self.teller(worker.state.hearing()) else { return };
        // Without a thread they are lost to a store that fails over just now: as if they were older.
        self.second_look =
            errand::tell_again(teller, std::mem::take(&mut self.kept), deadline).ok();
    }
}

impl Waiter {
    /// The fleet's word; the request goes on with an event of its own.
    fn tell(&self, fleet: Result<(), Refused>) {
        *self.end.borrow_mut() = Some(fleet);
        if let Some(suspension) = &*self.suspension.borrow() {
            suspension.end();
        }
    }
}

/// Whose purge it is.
#[derive(Clone, Copy)]
enum By {
    /// An operator's, who can purge again.
    Request,
    /// The gateway's own, of a token that the authorization server calls inactive.
    Gateway,
}

/// Counts a purge that the fleet may not know of, and says so.
fn say_refused(worker: &Worker, node: &Node, refused: Refused, by: By) {
    counters::store_purged(worker, StorePurge::Refused);
    let word = refused.to_string();
    let (what, key) = match by {
        By::Request => ("what was purged here: purge again", word.clone()),
        By::Gateway => (
            "a token that is not active any more, until what they keep ends",
            format!("{word}, own"),
        ),
    };
    if worker.is_due(Notice::PurgeRefused, &key) {
        let label = node.label();
        let remedy = match refused {
            Refused::Store(PurgeError::Store(error)) => {
                format!("; {}", remedy::of_store(error, node.reach()))
            }
            _ => String::new(),
        };
        error!(
            Cycle,
            "the store \"{label}\" did not take a purge: {word}; other gateways may serve {what}{remedy}"
        );
    }
}
