//! The part of an own call that its thread touches.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use phantom_token_engine::answer::{self, Answer, Terms};
use phantom_token_engine::client::{self, Call};
use phantom_token_engine::shared::health::Health;
use phantom_token_engine::shared::health::form::Form;
use phantom_token_engine::shared::health::judge::{Credentials, Verdict, judge};
use phantom_token_engine::wipe::wipe_vec;

use crate::nginx::guard::{self, PanicSite};
use crate::nginx::thread;

/// What is to be asked.
pub(super) struct Made {
    /// The call in each form that its credentials may have, the next where one is refused.
    pub(super) calls: Vec<(Form, Call)>,
    pub(super) terms: Terms,
    /// The location has no other endpoint.
    pub(super) alone: bool,
}

/// What came of it.
pub(super) struct Ended {
    pub(super) verdict: Verdict,
    /// The form that was answered with active or inactive.
    pub(super) answered: Option<Form>,
    pub(super) panicked: Option<PanicSite>,
}

/// A call under way. Dropped before its end, it goes on unheard, for as long as its deadline lets
/// it.
pub(super) struct Running(Arc<Mutex<Option<Ended>>>);

impl Running {
    pub(super) fn has_ended(&self) -> bool {
        self.0.lock().is_some()
    }

    /// What came of it.
    pub(super) fn end(&self) -> Ended {
        let nothing = Ended { verdict: Verdict::NOTHING, answered: None, panicked: None };
        self.0.lock().take().unwrap_or(nothing)
    }
}

/// Begins a call in a thread of its own.
///
/// # Errors
/// Where the system gives no thread.
pub(super) fn begin(made: Made) -> std::io::Result<Running> {
    let end = Arc::new(Mutex::new(None));
    let told = Arc::clone(&end);
    let run = move || {
        let ended = guard::catch("an own call", || ask(&made));
        // Its answers are wiped, its values too: before the end is told.
        drop(guard::catch("the end of an own call", || drop(made)));
        *told.lock() = Some(ended.unwrap_or_else(|place| Ended {
            verdict: Verdict::NOTHING,
            answered: None,
            panicked: Some(place),
        }));
    };
    thread::spawn("phantom-own-call", run)?;
    Ok(Running(end))
}

/// Asks in one form after the other, until one is not refused.
fn ask(made: &Made) -> Ended {
    let mut ended = Ended { verdict: Verdict::NOTHING, answered: None, panicked: None };
    for (form, call) in &made.calls {
        let end = client::introspect(call).map(|mut response| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
            let answer = answer::read(&response, made.terms, now);
            wipe_vec(&mut response.body);
            answer
        });
        let answered = ended.verdict.health == Health::Answered;
        ended.verdict = judge(end.as_ref(), made.alone, true);
        if answered {
            // To the form before, whatever became of this one.
            ended.verdict.health = Health::Answered;
        }
        if let Ok(Answer::Active(_) | Answer::Inactive(_)) = end {
            ended.answered = Some(*form);
        }
        if ended.verdict.credentials != Credentials::Refused {
            break;
        }
    }
    ended
}
