//! Authorization servers that are away, late, or not who they should be.

mod failover;
mod timeouts;
mod tls;
