//! What goes into the arena and what comes out of it.

use std::fmt;

use crate::answer::nature::Nature;
pub use crate::lifetime::Life as Times;
use crate::memory::{self, NoMemory};
use crate::wipe::wipe;

/// What the authorization server said of a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// It is active: there is a grant.
    Active,
    /// It is not.
    #[default]
    Inactive,
}

/// An answer to be kept.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    /// Active or inactive.
    pub kind: Kind,
    /// How long it may serve.
    pub times: Times,
    /// What kind of token it is, and to what it is bound.
    pub nature: Nature,
    /// The phantom token; may be empty.
    pub jwt: &'a [u8],
    /// The granted scope; may be empty.
    pub scope: &'a [u8],
    /// The answer's claims, a JSON object; may be empty.
    pub claims: &'a [u8],
}

impl<'a> Entry<'a> {
    /// The entry that keeps an inactive answer.
    pub fn inactive(times: Times) -> Self {
        let (kind, nature) = (Kind::Inactive, Nature::default());
        Self { kind, times, nature, jwt: &[], scope: &[], claims: &[] }
    }

    /// The payload's parts, in the order they are laid down.
    pub(super) fn parts(&self) -> [&'a [u8]; 3] {
        [self.jwt, self.scope, self.claims]
    }

    /// The payload's length, bytes.
    pub(super) fn payload(&self) -> usize {
        self.parts().iter().fold(0, |sum, part| sum.saturating_add(part.len()))
    }
}

impl fmt::Debug for Entry<'_> {
    /// Says everything but the phantom token and the claims.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("kind", &self.kind)
            .field("times", &self.times)
            .field("nature", &self.nature)
            .field("lens", &self.parts().map(<[u8]>::len))
            .finish()
    }
}

/// An answer copied out of the arena, in a buffer made beforehand: nothing is allocated while the
/// lock is held. Made once per worker and used again and again; wiped when dropped.
#[derive(Default)]
pub struct Record {
    pub(super) kind: Kind,
    pub(super) times: Times,
    pub(super) nature: Nature,
    /// Lengths of JWT, scope and claims at the buffer's front; their sum is inside it.
    pub(super) lens: [usize; 3],
    /// Its whole length is room.
    pub(super) room: Vec<u8>,
}

impl Record {
    /// A record with room for `payload` bytes of JWT, scope and claims together.
    pub fn with_room(payload: usize) -> Self {
        Self { room: vec![0; payload], ..Self::default() }
    }

    /// Makes room for at least `payload` bytes: what `NeedSpace` asked for.
    ///
    /// # Errors
    /// Where there is no memory; the record is empty then and has the room it had.
    pub fn reserve(&mut self, payload: usize) -> Result<(), NoMemory> {
        if self.room.len() < payload {
            self.clear();
            // Growing in place would leave a copy of an earlier token behind.
            wipe(&mut self.room);
            self.room = memory::zeroed(payload)?;
        }
        Ok(())
    }

    /// Wipes what is in it; the room stays.
    pub fn clear(&mut self) {
        let used = self.used();
        wipe(&mut self.room[..used]);
        self.lens = [0; 3];
        self.kind = Kind::Inactive;
        self.times = Times::default();
        self.nature = Nature::default();
    }

    /// Active or inactive.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How long it may serve.
    pub fn times(&self) -> &Times {
        &self.times
    }

    /// What kind of token it is, and to what it is bound.
    pub fn nature(&self) -> Nature {
        self.nature
    }

    /// The phantom token.
    pub fn jwt(&self) -> &[u8] {
        &self.room[..self.lens[0]]
    }

    /// The granted scope.
    pub fn scope(&self) -> &[u8] {
        &self.room[self.lens[0]..self.lens[0] + self.lens[1]]
    }

    /// The answer's claims, a JSON object or nothing.
    pub fn claims(&self) -> &[u8] {
        &self.room[self.lens[0] + self.lens[1]..self.used()]
    }

    pub(super) fn used(&self) -> usize {
        self.lens.iter().sum()
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        wipe(&mut self.room);
    }
}

impl fmt::Debug for Record {
    /// Says everything but the phantom token and the claims.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("kind", &self.kind)
            .field("times", &self.times)
            .field("nature", &self.nature)
            .field("lens", &self.lens)
            .finish()
    }
}
