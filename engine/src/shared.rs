//! What the gateway's processes share besides the arena: the lock, the state zone, the health of
//! servers.

pub mod health;
pub mod lock;
pub mod process;
pub mod state;
