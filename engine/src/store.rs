//! A fleet's store: answers and purges shared through Valkey or Redis.
//!
//! Several gateways ask one store before they ask the authorization server. The store is never the
//! truth: away, slow, full, flushed or lying, it costs bounded time and calls, never a wrong answer.
//!
//! - [`wire`]: what is sent, in the protocol's own form; [`reply`]: what comes back, and what it means.
//! - [`Nodes`]: the store's servers behind one face, whatever they are; [`node`]: one server, with the
//!   connections to it that are kept; [`address`]: where it is.
//! - [`keys`]: what all gateways know, and nobody else; [`names`]: what things are called in the store;
//!   `seal` and `value`: what stands there, which opens to who has a key and the token.
//! - [`look`]: how a token is looked up; [`Leased`]: how an answer is left there.
//! - [`event`]: what gateways tell each other of purges; [`purge`]: how one is told, and [`sync`]
//!   how it is heard; [`hear`]: the loop that one worker's thread runs; [`peer`]: what gateways tell of
//!   themselves.
//!
//! Time is passed in, but to what blocks.

pub mod address;
mod connection;
pub mod event;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod hear;
pub mod keys;
mod leased;
pub mod look;
#[cfg(any(test, fuzzing, feature = "testing"))]
pub mod memory;
#[cfg(test)]
mod model;
pub mod names;
pub mod node;
pub mod peer;
pub mod purge;
mod question;
pub mod reply;
mod seal;
pub mod sync;
mod value;
pub mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::address::{Address, AddressError};
use self::keys::FleetKeys;
pub use self::leased::Leased;
pub use self::look::{Found, Looked, Remark, StoreStatus};
use self::names::Names;
pub use self::names::{Epoch, Identity};
pub use self::node::{Counting, Node, Options};
pub use self::question::{InSync, Question, SignedBy};
pub use self::reply::{Reply, ServerError, StoreError};
pub use self::value::Stored;
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
    /// before those to that connection's next question, and counted. Makes no connection. Where questions
    /// come often, the next one may take them along.
    ///
    /// # Errors
    /// Nothing was sent: there is no connection that could have taken it at once.
    fn tell(&self, commands: Pipeline) -> Result<(), StoreError>;
}

/// What a store is asked with.
pub struct StoreOptions {
    /// Its nodes.
    pub nodes: Arc<dyn Nodes>,
    /// The fleet's keys.
    pub keys: Arc<FleetKeys>,
    /// What its keys are called, in front.
    pub names: Names,
    /// How long a question may take, all in all.
    pub timeout: Duration,
    /// How long another gateway's call is waited for; zero: never, and no marker is set.
    pub lock_timeout: Duration,
    /// The longest time for which any location keeps an answer.
    pub longest: Duration,
}

/// A store, as gateways see it that look for a token there.
pub struct Store {
    nodes: Arc<dyn Nodes>,
    keys: Arc<FleetKeys>,
    names: Names,
    timeout: Duration,
    lock_timeout: Duration,
    longest_ms: u64,
}

impl Store {
    /// Makes one; nothing is asked yet.
    pub fn new(options: StoreOptions) -> Store {
        let StoreOptions { nodes, keys, names, timeout, lock_timeout, longest } = options;
        let longest_ms = wire::millis(longest);
        Store { nodes, keys, names, timeout, lock_timeout, longest_ms }
    }

    /// The fleet's keys.
    pub fn keys(&self) -> &Arc<FleetKeys> {
        &self.keys
    }

    /// What its keys are called.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// How long a question may take, all in all.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("names", &self.names).finish_non_exhaustive()
    }
}
