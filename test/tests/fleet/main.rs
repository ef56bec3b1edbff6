//! Gateways that share answers and purges through a store, each an NGINX of its own; the store is the
//! real `redis-server`, or what `STORE_SERVER` names.

mod chaos;
mod drill;
mod example;
mod gap;
mod hearing;
mod identity;
mod key;
mod lifecycle;
mod lifetimes;
mod offline;
mod one_call;
mod peers;
mod purge;
mod remedies;
mod rotation;
mod secrets;
mod storm;
mod support;
mod upgrade;
