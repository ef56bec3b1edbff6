//! What the gateway's processes share besides the arena: the lock, and the state zone with the
//! counters and the health of servers.

mod atomic;
pub mod counters;
pub mod endpoint;
pub mod health;
pub mod hearing;
pub mod layout;
pub mod lock;
pub mod process;
pub mod purges;
pub mod state;
pub mod store;
mod table;
