//! One request: from its token to a decision, and to what the client is told.

#![forbid(unsafe_code)]

mod anew;
mod checks;
pub(crate) mod ctx;
pub(crate) mod early;
pub(crate) mod filter;
mod handler;
mod inputs;
pub(crate) mod pass;
pub(crate) mod phases;
pub(crate) mod questions;
pub(crate) mod refusal;
