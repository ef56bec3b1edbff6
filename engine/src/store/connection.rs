//! One connection to a store's server: how it begins, and one question after the other.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Instant;

use zeroize::Zeroizing;

use super::address::Address;
use super::reply::Fault;
use super::wire::{Decoder, MAX_RECEIVED};
use super::{Pipeline, Reply, StoreError};
use crate::client::{
    CallError, ConnectCause, Halt, Input, MAX_IDLE, Phase, SessionFailure, Stream, Tls,
};
use crate::shared::counters::{ConnectionCount, Counted, Shard, StoreWrite};

/// The least and the most room offered to one read.
const READ: (usize, usize) = (4 * 1024, 64 * 1024);

/// How often at most it may be told something before it is asked again.
const MAX_OWED: usize = 256;

/// What a server is asked as, and how.
#[derive(Clone)]
pub struct Options {
    /// Where it is.
    pub address: Address,
    /// The user's name of its ACL; `None`: the default user's.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<Zeroizing<Vec<u8>>>,
    /// How TLS is spoken, where the address asks for it.
    pub tls: Tls,
    /// Connections that may be open at a time; at least 1.
    pub connections: usize,
}

/// Where a worker counts what it does.
#[derive(Clone, Copy)]
pub struct Counting {
    /// Its share of the totals.
    pub shard: &'static Shard,
    /// Its connections to the store.
    pub connections: &'static ConnectionCount,
}

/// How a question failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A kept connection turned out closed before any byte of the reply: it may have been for long.
    Stale,
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Failure::Store(error)
    }
}

/// A connection that is ready for questions. It serves one at a time, and is of no use after any failure.
pub(super) struct Connection {
    stream: Stream,
    input: Input,
    decoder: Decoder,
    /// How many replies are owed to each of what was told and not waited for.
    owed: VecDeque<usize>,
    /// Whether it has answered before.
    served: bool,
    used: Instant,
    counted: Counted,
    shard: Option<&'static Shard>,
}

impl Connection {
    /// Connects and says who we are, all before `deadline`. The password is answered before anything
    /// else is sent: with a wrong one, the rest would be done as another user.
    pub(super) fn dial(
        options: &Options,
        counting: Option<Counting>,
        deadline: Instant,
    ) -> Result<Connection, StoreError> {
        let address = &options.address;
        let tls = address.tls_name().map(|name| (&options.tls, name));
        let stream = address.place().dial(tls, deadline).map_err(dial_failure)?;
        let mut connection = Connection {
            stream,
            input: Input::default(),
            decoder: Decoder::default(),
            owed: VecDeque::new(),
            served: false,
            used: Instant::now(),
            counted: Counted::busy(counting.map(|counting| counting.connections)),
            shard: counting.map(|counting| counting.shard),
        };
        if let Some(password) = &options.password {
            let mut question = Pipeline::new();
            match &options.user {
                Some(user) => question.command(&[b"AUTH", user.as_bytes(), password]),
                None => question.command(&[b"AUTH", password]),
            };
            let [reply] = &connection.greet(&question, deadline)?[..] else {
                return Err(StoreError::Protocol(Fault::Malformed));
            };
            if !reply.is_ok() {
                let Some(error) = reply.error() else {
                    return Err(StoreError::Protocol(Fault::Malformed));
                };
                return Err(StoreError::Auth(error));
            }
        }
        // A name for whoever lists the server's clients. Not all users may give themselves one.
        let mut question = Pipeline::new();
        question.command(&[b"CLIENT", b"SETNAME", b"ngx-phantom-token"]);
        if address.database() != 0 {
            question.command(&[b"SELECT", address.database().to_string().as_bytes()]);
        }
        let replies = connection.greet(&question, deadline)?;
        if let Some(error) = replies.get(1).and_then(Reply::error) {
            return Err(error.condemns().unwrap_or(StoreError::Refused(error)));
        }
        Ok(connection)
    }

    /// Asks before the first question. What condemns the node does so, but for a name that may not be
    /// given.
    fn greet(&mut self, question: &Pipeline, deadline: Instant) -> Result<Vec<Reply>, StoreError> {
        let replies =
            self.exchange(question, question.len(), deadline).map_err(|failure| match failure {
                Failure::Stale => StoreError::Closed,
                Failure::Store(error) => error,
            })?;
        let errors = replies.iter().filter_map(|reply| reply.error()?.condemns());
        match errors.into_iter().find(|error| *error != StoreError::Acl) {
            Some(error) => Err(error),
            None => Ok(replies),
        }
    }

    /// Whether it may serve a question now: not too old, not idle for too long, nothing of the last
    /// question left in it. What is owed may have come since.
    pub(super) fn is_fit(&mut self, now: Instant) -> bool {
        self.may_be_kept(now)
            && now.saturating_duration_since(self.used) <= MAX_IDLE
            && (!self.owed.is_empty() || self.stream.watch().is_quiet())
    }

    /// Whether it may serve another question, as far as it knows.
    pub(super) fn may_be_kept(&mut self, now: Instant) -> bool {
        self.input.unread().is_empty() && self.decoder.is_empty() && self.stream.is_reusable(now)
    }

    /// Whether something has come that nobody has read.
    #[cfg(test)]
    pub(super) fn has_input(&self) -> bool {
        !self.stream.watch().is_quiet()
    }

    /// Has served, and waits for another question.
    pub(super) fn rest(&mut self) {
        self.used = Instant::now();
        self.counted.idles();
    }

    /// Is taken for another question.
    pub(super) fn begin(&mut self, counting: Option<Counting>) {
        self.counted.used(counting.map(|counting| counting.connections));
        self.shard = counting.map(|counting| counting.shard);
    }

    /// Asks, and tells in front of it, in one piece, what was `held`. What is owed is read before what
    /// answers, so that nothing of it is taken for a reply to the question.
    pub(super) fn ask(
        &mut self,
        held: Vec<Pipeline>,
        question: &Pipeline,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Failure> {
        let heard = self.hear_owed();
        // First of all: whatever ends the connection has lost it.
        let all = self.with_held(held, question);
        heard?;
        self.exchange(&all, question.len(), deadline)
    }

    /// What was `held`, and will be owed, and a question behind it.
    fn with_held<'a>(&mut self, held: Vec<Pipeline>, question: &'a Pipeline) -> Cow<'a, Pipeline> {
        let mut held = held.into_iter();
        let Some(mut all) = held.next() else { return Cow::Borrowed(question) };
        self.owed.push_back(all.len());
        for told in held {
            self.owed.push_back(told.len());
            all.append(&told);
        }
        all.append(question);
        Cow::Owned(all)
    }

    /// Sends without waiting. False where there is no room: some of it may have been sent.
    pub(super) fn tell(&mut self, commands: &Pipeline) -> bool {
        self.owed.push_back(commands.len());
        self.owed.len() <= MAX_OWED && self.stream.write_now(commands.as_bytes())
    }

    /// Reads what has come of what is owed, without waiting. What stands behind it is nobody's.
    fn hear_owed(&mut self) -> Result<(), Failure> {
        if self.owed.is_empty() {
            return Ok(());
        }
        let room = self.input.room(READ.0);
        match self.stream.read_now(room) {
            Ok(None) => return Ok(()),
            Ok(Some(0)) | Err(SessionFailure::Socket(Halt::Closed)) => return Err(Failure::Stale),
            Ok(Some(amount)) => self.input.filled(amount),
            Err(failure) => return Err(ended(failure, Phase::Wait).into()),
        }
        self.take_decrypted();
        self.decode(self.owed.iter().sum())?;
        self.settle();
        Ok(())
    }

    /// Counts what was told by the replies to it that are there.
    fn settle(&mut self) {
        while let Some(&owed) = self.owed.front() {
            if self.decoder.len() < owed {
                return;
            }
            // To the end, whatever the first of them is.
            let failed =
                self.decoder.first_replies(owed).filter(|one| one.error().is_some()).count();
            self.owed.pop_front();
            self.count(if failed > 0 { StoreWrite::Failed } else { StoreWrite::Ok });
        }
    }

    /// Sends commands, and returns the replies to the last of them, so many.
    fn exchange(
        &mut self,
        commands: &Pipeline,
        answers: usize,
        deadline: Instant,
    ) -> Result<Vec<Reply>, Failure> {
        match self.stream.write_all(commands.as_bytes(), deadline) {
            Ok(()) => {}
            // The server may have said why before it closed: reading finds it.
            Err(SessionFailure::Socket(Halt::Closed)) => {}
            Err(failure) => return Err(ended(failure, Phase::Send).into()),
        }
        let replies = self.receive(answers, deadline)?;
        self.served = true;
        Ok(replies)
    }

    /// Reads what is owed, and so many replies behind it.
    fn receive(&mut self, answers: usize, deadline: Instant) -> Result<Vec<Reply>, Failure> {
        let expected = self.owed.iter().sum::<usize>() + answers;
        let mut received = 0;
        while self.decoder.len() < expected {
            let least = self.decoder.missing(self.input.unread().len()).clamp(READ.0, READ.1);
            let room = self.input.room(least);
            match self.stream.read(room, deadline) {
                Ok(amount @ 1..) => {
                    received += amount;
                    self.input.filled(amount);
                }
                Ok(0) | Err(SessionFailure::Socket(Halt::Closed))
                    if received == 0 && self.served =>
                {
                    return Err(Failure::Stale);
                }
                Ok(0) => return Err(StoreError::Closed.into()),
                Err(failure) => {
                    let phase = if received == 0 { Phase::Wait } else { Phase::Read };
                    return Err(ended(failure, phase).into());
                }
            }
            received += self.take_decrypted();
            if received > MAX_RECEIVED {
                return Err(StoreError::Protocol(Fault::TooLarge).into());
            }
            self.decode(expected)?;
        }
        self.settle();
        Ok(self.decoder.replies())
    }

    /// Takes what the last read has brought besides, and says how much that is.
    fn take_decrypted(&mut self) -> usize {
        let mut received = 0;
        loop {
            let amount = self.stream.read_decrypted(self.input.room(READ.0));
            if amount == 0 {
                return received;
            }
            received += amount;
            self.input.filled(amount);
        }
    }

    fn decode(&mut self, expected: usize) -> Result<(), Failure> {
        let taken = self.decoder.take(self.input.unread(), expected);
        self.input.consume(taken.map_err(StoreError::Protocol)?);
        Ok(())
    }

    fn count(&self, result: StoreWrite) {
        if let Some(shard) = self.shard {
            shard.count_store_write(result);
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        for _ in &self.owed {
            self.count(StoreWrite::Lost);
        }
    }
}

fn dial_failure(error: CallError) -> StoreError {
    match error {
        CallError::Connect(cause) => StoreError::Connect(cause),
        CallError::Tls(cause) => StoreError::Tls(cause),
        CallError::Timeout(phase) => StoreError::Timeout(phase),
        // Nothing was asked yet.
        CallError::Answer(_) | CallError::Request(_) => StoreError::Connect(ConnectCause::Refused),
    }
}

fn ended(failure: SessionFailure, phase: Phase) -> StoreError {
    match failure {
        SessionFailure::Tls(cause) => StoreError::Tls(cause),
        SessionFailure::Socket(Halt::Expired) => StoreError::Timeout(phase),
        SessionFailure::Socket(Halt::Closed) => StoreError::Closed,
        SessionFailure::Socket(Halt::Io(kind)) => StoreError::Io(kind),
    }
}
