//! The form of an introspection request: what is the same however often it is sent, and what is good
//! for one attempt alone.

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::error::RequestCause;
use crate::http::form::Form;

/// Appends to a form what is good for one attempt alone: a client assertion (RFC 7523 §2.2), which no
/// server has to take twice. Called by each attempt, in the thread that sends it.
pub type Once = dyn Fn(Form) -> Result<Form, RequestCause> + Send + Sync;

/// The form (`application/x-www-form-urlencoded`) of one call, made anew for each attempt where a part
/// of it is good for one alone.
pub struct Body {
    same: Zeroizing<Vec<u8>>,
    once: Option<Arc<Once>>,
}

impl Body {
    /// A form that ends, in each attempt, in what `once` appends; `None`: nothing.
    pub fn new(same: Zeroizing<Vec<u8>>, once: Option<Arc<Once>>) -> Self {
        Self { same, once }
    }

    /// What is the same in every attempt, and all there is where nothing is good for one alone.
    pub(super) fn same(&self) -> &[u8] {
        &self.same
    }

    /// The whole form of one attempt; `None`: it is [`same`](Self::same).
    pub(super) fn of_attempt(&self) -> Result<Option<Zeroizing<Vec<u8>>>, RequestCause> {
        let Some(once) = &self.once else { return Ok(None) };
        let form = Form::beginning(&self.same).map_err(|_| RequestCause::NoMemory)?;
        once(form).map(|form| Some(form.finish()))
    }
}

/// A form that is the same in every attempt.
impl From<Zeroizing<Vec<u8>>> for Body {
    fn from(same: Zeroizing<Vec<u8>>) -> Self {
        Self::new(same, None)
    }
}

impl fmt::Debug for Body {
    /// Without a byte of it: a token is in there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("len", &self.same.len()).finish_non_exhaustive()
    }
}
