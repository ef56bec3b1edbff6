//! The calls that were made for a request, for its log: NGINX writes such lists of upstreams
//! (`$upstream_addr`, `$upstream_status`).

use std::rc::Rc;
use std::sync::Arc;

use phantom_token_engine::attempt::End;
use phantom_token_engine::client::{CallError, Endpoint};

/// One call.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) endpoint: Arc<Endpoint>,
    /// How it ended; `None`: it has not, or by no fault of the server's.
    pub(crate) status: Option<u16>,
}

/// The calls of one flight, in their order. Shared by those who waited for it.
#[derive(Clone, Default)]
pub(crate) struct Calls(Option<Rc<Vec<Made>>>);

impl Calls {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Made> {
        self.0.iter().flat_map(|calls| calls.iter())
    }

    pub(super) fn begin(&mut self, endpoint: &Arc<Endpoint>) {
        let calls = Rc::make_mut(self.0.get_or_insert_default());
        // Without memory the log says less.
        if calls.try_reserve(1).is_ok() {
            calls.push(Made { endpoint: endpoint.clone(), status: None });
        }
    }

    /// The call begun last has ended so.
    pub(super) fn end(&mut self, status: Option<u16>) {
        if let Some(calls) = &mut self.0
            && let Some(last) = Rc::make_mut(calls).last_mut()
        {
            last.status = status;
        }
    }

    /// The call begun last was not made after all.
    pub(super) fn drop_last(&mut self) {
        if let Some(calls) = &mut self.0 {
            Rc::make_mut(calls).pop();
        }
    }

    /// Who waited had no more time.
    pub(super) fn out_of_time(&mut self) {
        if self.iter().last().is_some_and(|last| last.status.is_none()) {
            self.end(Some(504));
        }
    }
}

/// The status of a call: its answer's; else, as NGINX writes it for an upstream, 504 where the time
/// was over and 502 where there was no connection or no HTTP answer.
pub(super) fn status(end: &End) -> Option<u16> {
    match end {
        End::Answered(found) => Some(found.status),
        End::Failed(CallError::Timeout(_)) | End::Unsent | End::Skipped => Some(504),
        End::Failed(_) => Some(502),
        End::NotStored | End::Panicked(_) => None,
    }
}
