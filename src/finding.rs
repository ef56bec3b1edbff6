//! What an introspection came to, as every request that waited for it learns it.

#![forbid(unsafe_code)]

use std::rc::Rc;

use phantom_token_engine::failure::Failure;
use phantom_token_engine::local::Cached;

/// What was found out about one token as one identity. It is kept for the request's lifetime.
#[derive(Clone)]
pub(crate) enum Finding {
    /// Active, with all there is to judge a request by.
    Active(Rc<Cached>),
    /// Not active.
    Inactive,
    /// Nothing was learnt.
    Failed(Failure),
}
