//! In-flight marks: one introspection call per token, in all workers.
//!
//! A mark says that some worker's call is out for a key, and later, where workers other than the
//! caller wait, how it ended. Each waiting worker has a bit in the mark, set when it joins and
//! cleared when it takes the answer; the last bit frees the mark. A mark whose owner died, or whose
//! deadline passed, goes to exactly one who asks; and so does one whose token was purged or called
//! inactive since its call began, for whoever came after that must not be given its answer. Where a mark cannot be made or an answer cannot
//! be held, workers call for themselves: too many calls, never a wrong answer.

use std::hash::Hasher as _;

use super::entry::Tag;
use super::layout::{NIL, blocks_for, header, item};
use super::list::List;
use super::memory::{Block, Corrupt, Sound, raw};
use super::record::{Entry, Record};
use super::{AnsweredFor, Call, Joined, Left, Locked, Poll, Seen, Taken};
use crate::shared::process::Here;
use crate::shared::purges::Moment;
use crate::token::key::Key;

/// Marks of one token, whatever the identity.
const PER_TOKEN: usize = 32;

/// How long past its deadline a mark is still left for its waiters, milliseconds.
const GRACE: u64 = 1_000;

/// Marks looked at for having run out whenever one is made.
const REAPED_AT_ONCE: usize = 2;

const STORED: u32 = 1 << 8;
const ACTIVE: u32 = 2 << 8;
const INACTIVE: u32 = 3 << 8;
const FAILED: u32 = 4 << 8;

/// A mark as it is laid down, but for its links and its key.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    /// [`Tag`], outcome and failure code.
    meta: u32,
    /// The answer that may not be kept, once there is one.
    held: u32,
    pid: u32,
    flight: u64,
    /// Milliseconds.
    deadline: u64,
    /// [`Seen::purges`].
    purges: u32,
    /// [`Seen::asked`].
    asked: Moment,
    /// Seconds.
    retry_after: u32,
    /// One bit per waiting worker.
    workers: [u64; 4],
}

impl Mark {
    fn calling(flight: &Call) -> Self {
        Self {
            meta: Tag::Calling as u32,
            held: NIL,
            pid: flight.owner.pid,
            flight: flight.id,
            deadline: flight.deadline,
            purges: flight.seen.purges,
            asked: flight.seen.asked,
            retry_after: 0,
            workers: [0; 4],
        }
    }

    fn set(&mut self, slot: u8) {
        self.workers[usize::from(slot / 64)] |= 1 << (slot % 64);
    }

    fn clear(&mut self, slot: u8) {
        self.workers[usize::from(slot / 64)] &= !(1 << (slot % 64));
    }

    fn has(&self, slot: u8) -> bool {
        self.workers[usize::from(slot / 64)] & 1 << (slot % 64) != 0
    }

    fn waiting(&self) -> u32 {
        self.workers.iter().map(|word| word.count_ones()).sum()
    }

    fn is_calling(&self) -> bool {
        self.meta & 0xff == Tag::Calling as u32
    }

    /// Whether the token was purged or called inactive since this call began, as one knows that
    /// begins now. The count wraps.
    fn is_overtaken_by(&self, newer: &Call) -> bool {
        let Seen { purges, purged, .. } = newer.seen;
        (purges.wrapping_sub(self.purges) as i32) > 0 || purged > self.asked
    }

    /// Whether the call that is out is still its owner's, as whoever would make `mine` sees it.
    pub(super) fn is_held(&self, mine: Option<&Call>, here: Here<'_>) -> bool {
        let overtaken = mine.is_some_and(|mine| self.is_overtaken_by(mine));
        !overtaken && self.deadline > here.now_ms && here.runs(self.pid)
    }
}

impl Locked<'_> {
    /// Follows the call that is out for a key, or takes the lead with `mine`.
    ///
    /// Where the owner no longer runs, its deadline is past, or the token was purged or called inactive since, the lead changes hands: those who followed start anew. An
    /// answered mark is for those who waited for it: whoever comes later
    /// leads a new flight.
    pub fn join_or_lead(&mut self, key: &Key, mine: &Call, here: Here<'_>) -> Joined {
        self.sound(Joined::Full, |arena| {
            let Some((block, mut mark)) = arena.calling(key)? else {
                return arena.change(|arena| arena.make_mark(key, mine, here.now_ms));
            };
            if !mark.is_held(Some(mine), here) {
                return arena.take_over(block, mine).map(|()| Joined::Lead);
            }
            if !mark.has(mine.owner.slot) {
                mark.set(mine.owner.slot);
                arena.change(|arena| arena.write_mark(block, &mark))?;
            }
            Ok(Joined::Follow { flight: mark.flight, owner_pid: mark.pid, deadline: mark.deadline })
        })
    }

    /// Says how a flight ended, to the other workers that wait for it.
    pub fn answer(&mut self, key: &Key, flight: u64, outcome: Left<'_>) -> AnsweredFor {
        self.sound(AnsweredFor::Lost, |arena| {
            let Some((block, mut mark)) = arena.mark_of(key, flight)? else {
                return Ok(AnsweredFor::Lost);
            };
            if !mark.is_calling() {
                return Ok(AnsweredFor::Lost);
            }
            arena.change(|arena| {
                if mark.waiting() == 0 {
                    return arena.drop_mark(block).map(|()| AnsweredFor::Nobody);
                }
                mark.meta = Tag::Answered as u32
                    | match outcome {
                        Left::Stored => STORED,
                        Left::Active(_) => ACTIVE,
                        Left::Inactive => INACTIVE,
                        Left::Failed { code, retry_after } => {
                            mark.retry_after = retry_after;
                            FAILED | u32::from(code) << 16
                        }
                    };
                if let Left::Active(entry) = &outcome {
                    let Some(held) = arena.hold(key, entry)? else {
                        return arena.drop_mark(block).map(|()| AnsweredFor::TooLarge);
                    };
                    mark.held = held.raw();
                }
                arena.write_mark(block, &mark)?;
                Ok(AnsweredFor::Others)
            })
        })
    }

    /// Asks after a flight this worker follows. A taken answer clears the worker's bit; the last
    /// bit frees the mark. Where the owner no longer runs or its deadline is past,
    /// this worker takes the lead with `mine`.
    pub fn poll(
        &mut self,
        key: &Key,
        flight: u64,
        mine: &Call,
        here: Here<'_>,
        out: &mut Record,
    ) -> Poll {
        self.sound(Poll::Gone, |arena| {
            let Some((block, mark)) = arena.mark_of(key, flight)? else {
                return Ok(Poll::Gone);
            };
            if !mark.has(mine.owner.slot) {
                return Ok(Poll::Gone);
            }
            if mark.is_calling() {
                if mark.deadline <= here.now_ms || !here.runs(mark.pid) {
                    return arena.take_over(block, mine).map(|()| Poll::Lead);
                }
                return Ok(Poll::Waiting);
            }
            let answer = match mark.meta & 0xff00 {
                STORED => match arena.entry(key)? {
                    Some(entry) => match arena.copy_entry(entry, out)? {
                        Ok(()) => Poll::Taken(Taken::Stored),
                        Err(payload) => return Ok(Poll::NeedSpace(payload)),
                    },
                    // Evicted or forgotten before we looked.
                    None => Poll::Gone,
                },
                ACTIVE => {
                    let held = arena.memory.block(mark.held)?.ok_or(Corrupt)?;
                    match arena.copy_held(held, key, out)? {
                        Ok(()) => Poll::Taken(Taken::Active),
                        Err(payload) => return Ok(Poll::NeedSpace(payload)),
                    }
                }
                INACTIVE => Poll::Taken(Taken::Inactive),
                FAILED => Poll::Taken(Taken::Failed {
                    code: (mark.meta >> 16) as u16,
                    retry_after: mark.retry_after,
                }),
                _ => return Err(Corrupt),
            };
            arena.clear_bit(block, mark, mine.owner.slot)?;
            Ok(answer)
        })
    }

    /// This worker no longer waits for a flight.
    pub fn leave(&mut self, key: &Key, flight: u64, slot: u8) {
        self.sound((), |arena| match arena.mark_of(key, flight)? {
            Some((block, mark)) if mark.has(slot) => arena.clear_bit(block, mark, slot),
            _ => Ok(()),
        });
    }

    /// Gives a flight up unanswered; its followers find it gone and start anew. `false` where it
    /// already was.
    pub fn cancel(&mut self, key: &Key, flight: u64) -> bool {
        self.sound(false, |arena| match arena.mark_of(key, flight)? {
            Some((block, mark)) if mark.is_calling() => {
                arena.change(|arena| arena.drop_mark(block)).map(|()| true)
            }
            _ => Ok(false),
        })
    }

    /// How many workers wait for a flight that is out; `None` where it has no mark (any more).
    pub fn followers(&mut self, key: &Key, flight: u64) -> Option<u32> {
        self.sound(None, |arena| {
            let mark = arena.mark_of(key, flight)?;
            Ok(mark.filter(|(_, mark)| mark.is_calling()).map(|(_, mark)| mark.waiting()))
        })
    }

    /// The mark of the call that is out for a key.
    pub(super) fn calling(&self, key: &Key) -> Sound<Option<(Block, Mark)>> {
        let mut chain = self.memory.chain(&key.token)?;
        while let Some(block) = chain.step()? {
            if self.tag(block)? == Tag::Calling && self.memory.is_at(block, key) {
                return Ok(Some((block, self.mark(block)?)));
            }
        }
        Ok(None)
    }

    pub(super) fn make_mark(&mut self, key: &Key, mine: &Call, now: u64) -> Sound<Joined> {
        self.reap_marks(now)?;
        if !self.mark_room_in_token(key)? || !self.room_for_small(1)? {
            return Ok(Joined::Full);
        }
        let (block, _) = self.memory.take_blocks(1)?;
        self.memory.chain_push(block, key)?;
        self.write_mark(block, &Mark::calling(mine))?;
        self.memory.list_push(List::MARKS, block)?;
        self.memory.add32(header::SMALL_BLOCKS, 1)?;
        Ok(Joined::Lead)
    }

    /// Makes a mark `mine`; who followed the old flight finds it gone and joins the new one.
    pub(super) fn take_over(&mut self, block: Block, mine: &Call) -> Sound<()> {
        self.change(|arena| {
            arena.memory.list_remove(List::MARKS, block)?;
            arena.memory.list_push(List::MARKS, block)?;
            arena.write_mark(block, &Mark::calling(mine))
        })
    }

    fn clear_bit(&mut self, block: Block, mut mark: Mark, slot: u8) -> Sound<()> {
        mark.clear(slot);
        self.change(|arena| {
            if !mark.is_calling() && mark.waiting() == 0 {
                arena.drop_mark(block)
            } else {
                arena.write_mark(block, &mark)
            }
        })
    }

    /// Lays down an answer that may not be kept, out of reach of all but the mark's waiters.
    fn hold(&mut self, key: &Key, entry: &Entry<'_>) -> Sound<Option<Block>> {
        let payload = entry.payload();
        if payload > super::layout::MAX_PAYLOAD || !self.room_for_small(blocks_for(payload))? {
            return Ok(None);
        }
        self.write_entry(key, entry, Tag::Held, blocks_for(payload)).map(Some)
    }

    fn copy_held(&self, held: Block, key: &Key, out: &mut Record) -> Sound<Result<(), usize>> {
        if self.tag(held)? != Tag::Held || !self.memory.is_at(held, key) {
            return Err(Corrupt);
        }
        self.copy_entry(held, out)
    }

    /// The mark of a flight.
    fn mark_of(&self, key: &Key, flight: u64) -> Sound<Option<(Block, Mark)>> {
        let mut chain = self.memory.chain(&key.token)?;
        while let Some(block) = chain.step()? {
            let tag = self.tag(block)?;
            if matches!(tag, Tag::Calling | Tag::Answered) && self.memory.is_at(block, key) {
                let mark = self.mark(block)?;
                if mark.flight == flight {
                    return Ok(Some((block, mark)));
                }
            }
        }
        Ok(None)
    }

    /// Keeps a token's marks bounded: an answered one that few still wait for goes first.
    fn mark_room_in_token(&mut self, key: &Key) -> Sound<bool> {
        let (mut marks, mut oldest) = (0, None);
        let mut chain = self.memory.chain(&key.token)?;
        while let Some(block) = chain.step()? {
            let tag = self.tag(block)?;
            if matches!(tag, Tag::Calling | Tag::Answered) && self.memory.is_of(block, &key.token) {
                marks += 1;
                if tag == Tag::Answered {
                    oldest = Some(block);
                }
            }
        }
        if marks < PER_TOKEN {
            return Ok(true);
        }
        match oldest {
            Some(oldest) => self.drop_mark(oldest).map(|()| true),
            None => Ok(false),
        }
    }

    /// Frees some marks that nobody came back for: their worker died, or left without a word.
    fn reap_marks(&mut self, now: u64) -> Sound<()> {
        for _ in 0..REAPED_AT_ONCE {
            let Some(last) = self.memory.list_last(List::MARKS)? else {
                break;
            };
            if self.mark(last)?.deadline.saturating_add(GRACE) > now {
                break;
            }
            self.drop_mark(last)?;
        }
        Ok(())
    }

    /// Unlinks a mark and frees it, and the answer that hangs on it.
    pub(super) fn drop_mark(&mut self, block: Block) -> Sound<()> {
        let mark = self.mark(block)?;
        if let Some(held) = self.memory.block(mark.held)? {
            if self.tag(held)? != Tag::Held {
                return Err(Corrupt);
            }
            self.free_entry(held)?;
        }
        self.memory.chain_remove(block)?;
        self.memory.list_remove(List::MARKS, block)?;
        self.memory.sub32(header::SMALL_BLOCKS, 1)?;
        self.free(block, block, 1)
    }

    /// The answer that hangs on a mark.
    pub(super) fn held(&self, block: Block) -> Sound<Option<Block>> {
        self.memory.block(self.mark(block)?.held)
    }

    /// Reads a mark, checked against its seal.
    fn mark(&self, block: Block) -> Sound<Mark> {
        let word = |field| self.memory.load32(self.memory.field(block, field));
        let long = |field| self.memory.load64(self.memory.field(block, field));
        let mark = Mark {
            meta: word(item::META),
            held: word(item::HELD),
            pid: word(item::PID),
            flight: long(item::FLIGHT),
            deadline: long(item::DEADLINE),
            purges: word(item::PURGES),
            asked: Moment::from_bits(long(item::ASKED)),
            retry_after: word(item::RETRY_AFTER),
            workers: [0, 8, 16, 24].map(|at| long(item::WORKERS + at)),
        };
        if self.seal_mark(block, &mark) == long(item::SEAL) { Ok(mark) } else { Err(Corrupt) }
    }

    /// Writes a mark over what was there; key and links stay.
    fn write_mark(&mut self, block: Block, mark: &Mark) -> Sound<()> {
        let memory = &self.memory;
        let words = [
            (item::META, mark.meta),
            (item::HELD, raw(memory.block(mark.held)?)),
            (item::PID, mark.pid),
            (item::PURGES, mark.purges),
            (item::RETRY_AFTER, mark.retry_after),
        ];
        for (field, value) in words {
            memory.store32(memory.field(block, field), value);
        }
        memory.store64(memory.field(block, item::FLIGHT), mark.flight);
        memory.store64(memory.field(block, item::DEADLINE), mark.deadline);
        memory.store64(memory.field(block, item::ASKED), mark.asked.to_bits());
        for (n, value) in mark.workers.into_iter().enumerate() {
            memory.store64(memory.field(block, item::WORKERS + 8 * n), value);
        }
        memory.store64(memory.field(block, item::SEAL), self.seal_mark(block, mark));
        Ok(())
    }

    fn seal_mark(&self, block: Block, mark: &Mark) -> u64 {
        let mut seal = self.seal(block);
        for word in [mark.meta, mark.held, mark.pid, mark.purges, mark.retry_after] {
            seal.write_u32(word);
        }
        seal.write_u64(mark.flight);
        seal.write_u64(mark.deadline);
        seal.write_u64(mark.asked.to_bits());
        mark.workers.iter().for_each(|word| seal.write_u64(*word));
        seal.finish()
    }
}
