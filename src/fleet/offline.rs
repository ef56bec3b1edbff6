//! How long answers serve while the store is not heard (`phantom_token_cache_offline_valid`).

use std::borrow::Cow;

use crate::conf::Policy;
use crate::conf::cache::CacheTimes;
use crate::nginx::sys::now_ms;
use crate::worker::Worker;

impl Policy {
    /// How long answers serve now. While the store is not heard, purges of other gateways are not known:
    /// what was asked for longer ago than the location allows serves no more, not even as stale.
    #[inline]
    pub(crate) fn times(&self, worker: &Worker) -> Cow<'_, CacheTimes> {
        match self.offline_valid_ms {
            Some(most_ms) if worker.state.store().is_unheard_for(most_ms, now_ms()) => {
                let valid_ms = self.cache.valid_ms.min(most_ms);
                Cow::Owned(CacheTimes { valid_ms, stale_ms: 0, ..self.cache })
            }
            _ => Cow::Borrowed(&self.cache),
        }
    }
}
