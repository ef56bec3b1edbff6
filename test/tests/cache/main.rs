//! The cache, through the real NGINX: one call per token in all workers, lifetimes, identity, stale
//! answers, purges, and what is left of it all after reloads, upgrades and kills.

mod bypass;
mod configuration;
mod flood;
mod identity;
mod kills;
mod lifetimes;
mod lock;
mod one_call;
mod overtaken;
mod purge;
mod refresh;
mod reload;
mod sizes;
mod stale;
mod stripes;
mod support;
mod takeover;
mod worker_cache;
