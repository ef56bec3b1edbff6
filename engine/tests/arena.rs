//! The arena as a user sees it: how much it holds, what a flood does to it, what damage does to it,
//! what it leaves behind, and processes that are killed inside it.

#[path = "arena/block.rs"]
mod block;
#[path = "arena/capacity.rs"]
mod capacity;
#[path = "arena/damage.rs"]
mod damage;
#[path = "arena/processes.rs"]
mod processes;
#[path = "arena/wiping.rs"]
mod wiping;
