//! What a client presents, by what it is found again, and what the client is told.

pub mod bearer;
pub mod challenge;
pub mod key;
