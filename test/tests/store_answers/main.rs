//! What one gateway learns of a token, the others find in the store.

mod anew;
mod calls;
mod identity;
mod kept;
mod lifetimes;
mod renewal;
mod server_away;
mod stops;
mod store_away;
mod support;
