//! The cache, through the real NGINX: one call per token in all workers, lifetimes, identity, stale
//! answers, purges, and what is left of it all after reloads, upgrades and kills.

mod bypass;
mod identity;
mod lifetimes;
mod one_call;
mod stale;
mod support;
mod takeover;
