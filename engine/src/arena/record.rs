//! What goes into the arena and what comes out of it.

use std::{fmt, mem};

use super::optional;
use crate::answer::facts::{Facts, Signer};
use crate::answer::nature::Nature;
use crate::answer::subjects::Subjects;
use crate::lifetime::Life;
use crate::memory::{self, NoMemory};
use crate::shared::purges::Moment;
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
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Active or inactive.
    pub kind: Kind,
    /// What is known of the token; of an inactive one, how long the answer may serve and when it was
    /// asked for.
    pub facts: Facts<'a>,
}

impl<'a> Entry<'a> {
    /// Makes the entry that keeps an active token's facts.
    pub fn active(facts: Facts<'a>) -> Self {
        Self { kind: Kind::Active, facts }
    }

    /// Makes the entry that keeps an inactive answer, asked for at that moment.
    pub fn inactive(life: Life, asked: Moment) -> Self {
        Self { kind: Kind::Inactive, facts: Facts { life, asked, ..Facts::default() } }
    }

    /// Returns the payload's length in bytes.
    pub(super) fn payload(&self) -> usize {
        let optional = optional::len(optional::bits(&self.facts));
        self.facts.texts().iter().fold(optional, |sum, text| sum.saturating_add(text.len()))
    }
}

/// An answer copied out of the arena, in a buffer made beforehand: nothing is allocated while the
/// lock is held. Made once per worker and used again and again; wiped when dropped.
#[derive(Default)]
pub struct Record {
    pub(super) kind: Kind,
    pub(super) life: Life,
    pub(super) nature: Nature,
    pub(super) signer: Option<Signer>,
    pub(super) subjects: Subjects,
    pub(super) asked: Moment,
    /// Lengths of JWT, scope and claims at the buffer's front.
    pub(super) lens: [usize; 3],
    /// How many bytes are in the buffer: those and the entry's optional parts, which follow them.
    pub(super) used: usize,
    /// Its whole length is room.
    pub(super) room: Vec<u8>,
}

impl Record {
    /// A record with room for `payload` bytes of all that an entry has.
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
        wipe(&mut self.room[..self.used]);
        *self = Self { room: mem::take(&mut self.room), ..Self::default() };
    }

    /// Active or inactive.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns what is known of the token: of an inactive one only how long the answer may serve, and
    /// when it was asked for.
    pub fn facts(&self) -> Facts<'_> {
        let (jwt, rest) = self.room[..self.used].split_at(self.lens[0]);
        let (scope, rest) = rest.split_at(self.lens[1]);
        let claims = &rest[..self.lens[2]];
        let Self { nature, signer, subjects, life, asked, .. } = *self;
        Facts { jwt, scope, claims, nature, signer, subjects, life, asked }
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
            .field("life", &self.life)
            .field("nature", &self.nature)
            .field("lens", &self.lens)
            .finish()
    }
}
