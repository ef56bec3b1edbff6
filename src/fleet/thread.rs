//! The thread that hears, in one of the workers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use phantom_token_engine::shared::hearing::Lease;
use phantom_token_engine::store::hear::{Clock, HearOptions, Hearer, Tiding};

use crate::nginx::guard::{self, PanicSite};
use crate::nginx::thread;

/// Tidings that wait to be taken, at most.
const MOST: usize = 64;

/// What an operator is to know.
pub(super) enum Told {
    Tiding(Tiding),
    Panicked(PanicSite),
    /// The system gives no thread.
    NoThread(io::Error),
}

/// A thread under way. It ends by itself, as soon as it finds that another one hears.
pub(super) struct Hearing(Arc<Shared>);

#[derive(Default)]
struct Shared {
    told: Mutex<Vec<Told>>,
    ended: AtomicBool,
}

impl Hearing {
    /// What was told since the last time.
    pub(super) fn tidings(&self) -> Vec<Told> {
        std::mem::take(&mut *self.0.told.lock())
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }
}

impl Shared {
    fn tell(&self, more: impl IntoIterator<Item = Told>) {
        let mut told = self.told.lock();
        let room = MOST.saturating_sub(told.len());
        told.extend(more.into_iter().take(room));
    }
}

/// Begins to hear, by the right that `lease` gives.
///
/// # Errors
/// Where the system gives no thread.
pub(super) fn begin(options: HearOptions, lease: Lease, clock: Clock) -> io::Result<Hearing> {
    let shared = Arc::<Shared>::default();
    let told = Arc::clone(&shared);
    let run = move || {
        let heard = guard::catch("the hearing of the store", || {
            let Some(mut hearer) = Hearer::new(options, lease, clock) else {
                return told.tell([Told::Tiding(Tiding::NoRandom)]);
            };
            while let Some(tidings) = hearer.turn() {
                told.tell(tidings.into_iter().map(Told::Tiding));
            }
        });
        told.tell(heard.err().map(Told::Panicked));
        told.ended.store(true, Ordering::Release);
    };
    thread::spawn("phantom-hearing", run)?;
    Ok(Hearing(shared))
}
