//! Purges, beside what the cache's own tests have of them: of a user's tokens, through the store of a fleet,
//! and by the documentation's commands.

mod commands;
mod store;
mod subjects;
