//! The engine of ngx-phantom-token.
//!
//! Everything that can be said about the Phantom Token pattern without NGINX is said here: what a
//! client presents ([`token`]), how the authorization server is asked ([`client`], [`http`]), what
//! its answer means ([`answer`], [`attempt`]), how long it may be kept ([`lifetime`]), what the
//! gateway signs ([`jose`]), and how answers are kept in memory that several processes share
//! ([`arena`], [`shared`]). Time is passed in; nothing is logged.

pub mod answer;
pub mod arena;
pub mod attempt;
pub mod client;
pub mod directive;
pub mod failure;
#[cfg(any(test, fuzzing))]
#[path = "../tests/fuzz/judges.rs"]
pub mod fuzz;
pub mod guard;
pub mod http;
pub mod jose;
pub mod lifetime;
pub mod local;
pub mod log_limit;
pub mod lookup;
pub mod memory;
pub mod metrics;
pub mod pace;
pub mod remedy;
pub mod shared;
pub mod store;
pub mod token;
pub mod wipe;
