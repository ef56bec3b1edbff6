//! The engine of ngx-phantom-token.
//!
//! Everything that can be said about the Phantom Token pattern without NGINX is said here: how an
//! access token is read ([`bearer`]), what an introspection answer means ([`answer`], [`jwt`],
//! [`scope`], [`claims`]), how long it may be kept ([`lifetime`], [`cache_control`]), how the
//! authorization server is asked ([`client`], [`pace`]), and how answers are kept in memory that several
//! processes share ([`arena`], [`state`]). Time is passed in; nothing is logged.

pub mod answer;
pub mod arena;
pub mod bearer;
pub mod cache_control;
pub mod challenge;
pub mod claims;
pub mod client;
pub mod directive;
pub mod form;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod grant;
pub mod health;
pub mod json;
pub mod jwt;
pub mod key;
pub mod lifetime;
pub mod local;
pub mod lock;
pub mod memory;
pub mod metrics;
pub mod nature;
pub mod pace;
pub mod process;
pub mod repeats;
pub mod scope;
pub mod state;
pub mod wipe;
