//! Asking anew for an entry that still serves: one call in all workers, under the mark that requests follow
//! which come once the entry has ended; and none for a while where one has failed.

use super::entry::Tag;
use super::layout::item;
use super::{Call, Joined, Locked};
use crate::shared::process::Here;
use crate::token::key::Key;

/// What [`Locked::renew`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Renewal {
    /// The call is ours to make.
    Lead,
    /// It would be, but we must not make it.
    Free,
    /// A call is out.
    Out,
    /// One has failed: none before this, in milliseconds.
    NotBefore(u64),
    /// There is another entry now.
    Replaced,
    /// There is no room for a mark.
    Full,
}

impl Locked<'_> {
    /// Takes the lead with `mine` of the call that asks anew for the entry that was stored at `stored`,
    /// unless a call is out for its key. With `None` it only looks. As in [`Locked::join_or_lead`], a mark
    /// whose owner is gone, or late, or that was overtaken, changes hands.
    pub fn renew(
        &mut self,
        key: &Key,
        stored: u64,
        mine: Option<&Call>,
        here: Here<'_>,
    ) -> Renewal {
        self.sound(Renewal::Full, |arena| {
            // An entry that had to make room for others is asked for all the same: workers keep it near.
            if let Some(entry) = arena.entry(key)? {
                let field = |field| arena.memory.load64(arena.memory.field(entry, field));
                if arena.tag(entry)? != Tag::Active || field(item::STORED) != stored {
                    return Ok(Renewal::Replaced);
                }
                // Not under the seal: what damage may do here is to have a call made, or not.
                let not_before = field(item::NOT_BEFORE);
                if here.now_ms < not_before {
                    return Ok(Renewal::NotBefore(not_before));
                }
            }
            let calling = arena.calling(key)?;
            if let Some((_, mark)) = &calling
                && mark.is_held(mine, here)
            {
                return Ok(Renewal::Out);
            }
            let Some(mine) = mine else { return Ok(Renewal::Free) };
            match calling {
                Some((block, _)) => arena.take_over(block, mine).map(|()| Renewal::Lead),
                None => arena.change(|arena| {
                    Ok(match arena.make_mark(key, mine, here.now_ms)? {
                        Joined::Lead => Renewal::Lead,
                        Joined::Full | Joined::Follow { .. } => Renewal::Full,
                    })
                }),
            }
        })
    }

    /// The call for the entry that was stored at `stored` has failed: no worker makes another before this,
    /// in milliseconds.
    pub fn postpone(&mut self, key: &Key, stored: u64, not_before: u64) {
        self.sound((), |arena| {
            if let Some(entry) = arena.entry(key)? {
                let field = |field| arena.memory.field(entry, field);
                if arena.memory.load64(field(item::STORED)) == stored {
                    arena.memory.store64(field(item::NOT_BEFORE), not_before);
                }
            }
            Ok(())
        });
    }

    /// When the active entry of a key was stored, in milliseconds; `None` where there is none.
    pub fn stored(&mut self, key: &Key) -> Option<u64> {
        self.sound(None, |arena| match arena.entry(key)? {
            Some(entry) if arena.tag(entry)? == Tag::Active => {
                Ok(Some(arena.memory.load64(arena.memory.field(entry, item::STORED))))
            }
            _ => Ok(None),
        })
    }
}
