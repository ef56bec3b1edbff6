//! NGINX with safe faces: all that is `unsafe` stands here, but for the tables of `lib.rs`.

mod arguments;
pub(crate) mod assigned;
pub(crate) mod command;
pub(crate) mod context;
mod event;
pub(crate) mod filters;
pub(crate) mod guard;
pub(crate) mod handlers;
pub(crate) mod log;
pub(crate) mod parser;
pub(crate) mod pinned;
pub(crate) mod reply;
pub(crate) mod request;
#[cfg(feature = "inject-faults")]
pub(crate) mod scarce;
pub(crate) mod suspension;
pub(crate) mod sys;
pub(crate) mod task;
pub(crate) mod thread;
pub(crate) mod thread_pool;
pub(crate) mod timer;
pub(crate) mod variables;
pub(crate) mod zone;
