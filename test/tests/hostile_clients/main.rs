//! Clients that flood, drip, hang about, leave, reset and send what nobody can read: others are
//! served as before, nothing is left behind, and every answer belongs to its own request.
//!
//! `PHANTOM_TOKEN_FLOOD_SECONDS` says how long a flood lasts, 3 as it comes;
//! `PHANTOM_TOKEN_RESETS` how many streams are reset, 6,000;
//! `PHANTOM_TOKEN_HANG_UPS` how many clients hang up, 1,500;
//! `PHANTOM_TOKEN_IDLE` how many connections idle, 10,000;
//! `PHANTOM_TOKEN_DRIPS` how many clients drip, 300;
//! `PHANTOM_TOKEN_MIXES` how many requests are mixed, 2,000.

mod bombs;
mod flood;
mod idle;
mod leave;
mod mixes;
mod support;
