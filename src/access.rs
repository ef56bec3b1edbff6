//! One request: from its token to a decision, and to what the client is told.

pub(crate) mod ctx;
pub(crate) mod filter;
pub(crate) mod handler;
pub(crate) mod pass;
pub(crate) mod refusal;
