//! One request: from its token to a decision, and to what the client is told.

#![forbid(unsafe_code)]

mod checks;
pub(crate) mod ctx;
pub(crate) mod early;
pub(crate) mod filter;
pub(crate) mod handler;
mod inputs;
pub(crate) mod pass;
pub(crate) mod refusal;
