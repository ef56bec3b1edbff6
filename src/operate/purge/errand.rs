//! The part of a purge through the store that a thread does, and how its end is told.

use std::io;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use phantom_token_engine::http::form;
use phantom_token_engine::store::event::GatewayId;
use phantom_token_engine::store::purge::{Acknowledged, Purge, PurgeError, Target};
use phantom_token_engine::store::{Epoch, Store};

use crate::nginx::guard::{self, PanicSite};
use crate::nginx::thread;

/// Who tells the store, and what it has heard of it.
pub(super) struct Teller {
    pub(super) store: Arc<Store>,
    pub(super) epoch: Option<Epoch>,
    pub(super) gateway: GatewayId,
    pub(super) acknowledged: u64,
}

/// What comes of an errand. Dropped before its end, it goes on unheard, for as long as its deadline lets
/// it.
pub(super) struct Errand<T>(Arc<Mutex<Option<Result<T, PanicSite>>>>);

impl<T: Send + 'static> Errand<T> {
    /// Begins one in a thread of its own: calls that fill the pool must not keep a purge waiting.
    ///
    /// # Errors
    /// Where the system gives no thread.
    fn begin(what: &'static str, run: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let end = Arc::new(Mutex::new(None));
        let told = Arc::clone(&end);
        let run = move || *told.lock() = Some(guard::catch(what, run));
        thread::spawn("phantom-purge", run)?;
        Ok(Self(end))
    }

    /// How it ended, once it has, and only once.
    pub(super) fn end(&self) -> Option<Result<T, PanicSite>> {
        self.0.lock().take()
    }
}

/// Tells the store of a purge.
///
/// # Errors
/// Where the system gives no thread.
pub(super) fn tell(
    teller: Teller,
    purge: form::purge::Purge,
    number: u64,
    deadline: Instant,
) -> io::Result<Errand<Result<Acknowledged, PurgeError>>> {
    Errand::begin("a purge through the store", move || {
        let Teller { store, epoch, gateway, acknowledged } = teller;
        let target = match &purge {
            form::purge::Purge::All => Target::All,
            form::purge::Purge::Token(token) => Target::Token(token),
            form::purge::Purge::Subject(subject, name) => Target::Subject(*subject, name),
        };
        Purge::new(&store, target, epoch, gateway, number, acknowledged).tell(deadline)
    })
}

/// What the store has acknowledged, and when, in monotonic milliseconds.
pub(super) type Kept = Vec<(u64, Acknowledged)>;

/// Tells the store again what it has lost, and says how many those are. What it does not take stays as it
/// was: it will be found lost again.
///
/// # Errors
/// Where the system gives no thread.
pub(super) fn tell_again(
    teller: Teller,
    mut kept: Kept,
    deadline: Instant,
) -> io::Result<Errand<(Kept, usize)>> {
    Errand::begin("a second look at purges", move || {
        let Teller { store, epoch, acknowledged, .. } = teller;
        let lost = Acknowledged::lost(&store, kept.iter().map(|(_, told)| told), deadline);
        let mut told_again = 0;
        for ((_, told), _) in
            kept.iter_mut().zip(lost.unwrap_or_default()).filter(|(_, lost)| *lost)
        {
            if let Ok(again) = told.again(&store, epoch, acknowledged).tell(deadline) {
                *told = again;
                told_again += 1;
            }
        }
        (kept, told_again)
    })
}
