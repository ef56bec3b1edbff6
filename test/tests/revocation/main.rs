//! How long a revoked token works: each row of the table in `docs/caching.md`, measured.

mod fleet;
mod kept;
mod purged;
mod refreshed;
mod several;
mod support;
mod table;
