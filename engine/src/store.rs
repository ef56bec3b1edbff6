//! A fleet's store: answers and purges shared through Valkey or Redis.
//!
//! Several gateways ask one store before they ask the authorization server. The store is never the
//! truth: away, slow, full, flushed or lying, it costs bounded time and calls, never a wrong answer.
//!
//! - [`wire`]: what is sent, in the protocol's own form; [`reply`]: what comes back, and what it means.
//! - [`Nodes`]: the store's servers behind one face, whatever they are; [`node`]: one server, with the
//!   connections to it that are kept; [`address`]: where it is.

pub mod address;
mod connection;
pub mod node;
pub mod reply;
pub mod wire;

use std::time::Instant;

pub use self::address::{Address, AddressError};
pub use self::node::{Counting, Node, Options};
pub use self::reply::{Reply, ServerError, StoreError};
pub use self::wire::Pipeline;

/// The nodes of a store behind one face. Every method blocks its thread, never beyond a deadline.
pub trait Nodes: Send + Sync {
    /// Asks a question: sends its commands in one piece and reads as many replies, before `deadline`
    /// whatever has to be done for it (host name, TCP, TLS, `AUTH`, `SELECT`).
    ///
    /// There are as many replies as commands. Errors among them are of single commands; one that is
    /// about the node or the user ([`ServerError::condemns`]) is the question's error, and no value
    /// that came beside it is to be used.
    ///
    /// # Errors
    /// See [`StoreError`]; the connection is closed then.
    fn ask(&self, question: &Pipeline, deadline: Instant) -> Result<Vec<Reply>, StoreError>;

    /// Sends commands and waits for nothing, neither for room nor for their replies, which are read
    /// before that connection's next question, and counted. Makes no connection.
    ///
    /// # Errors
    /// Nothing was sent: there is no connection that could have taken it at once.
    fn tell(&self, commands: &Pipeline) -> Result<(), StoreError>;
}
