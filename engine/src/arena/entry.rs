//! Entries: answers that are kept, found by key, least recently used first out.

use std::hash::Hasher as _;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use siphasher::sip::SipHasher13;

use super::bucket::words;
use super::layout::{BLOCK, ITEM_HEADER, MAX_PAYLOAD, blocks_for, header, item};
use super::list::List;
use super::memory::{Block, Corrupt, Sound};
use super::optional::{self, Optional};
use super::record::{Entry, Kind, Record};
use super::{Find, Locked, Stored};
use crate::lifetime::{Expiry, Life};
use crate::token::key::{Key, TokenHash};

/// Entries of one token, whatever the identity; the oldest goes.
const PER_TOKEN: u32 = 8;

/// Inactive entries that ran out, thrown away in passing at every store.
const REAPED_AT_ONCE: u32 = 2;

const MAY_STALE: u32 = 1 << 9;
const HAS_UNTIL: u32 = 1 << 10;
const HAS_EXP: u32 = 1 << 11;

/// Where an entry's times are: stored, until, and the token's expiry on both clocks.
const TIMES: [usize; 4] = [item::STORED, item::UNTIL, item::EXP, item::EXP_END];

/// Where the lengths of JWT, scope and claims are.
const LENS: [usize; 3] = [item::JWT_LEN, item::SCOPE_LEN, item::CLAIMS_LEN];

/// What an item is, in the low 8 bits of its `META` word. None is 0, so that a block nobody wrote
/// to is no item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// An active entry.
    Active = 1,
    /// An inactive entry.
    Inactive = 2,
    /// A mark: a call is out.
    Calling = 3,
    /// A mark: the answer waits to be taken.
    Answered = 4,
    /// An active answer that hangs on an answered mark and is in no bucket.
    Held = 5,
    /// What once was an item.
    Gone = 6,
}

impl Tag {
    /// The tag in a `META` word.
    pub(super) fn of(meta: u32) -> Sound<Self> {
        const TAGS: [Tag; 6] =
            [Tag::Active, Tag::Inactive, Tag::Calling, Tag::Answered, Tag::Held, Tag::Gone];
        TAGS.into_iter().find(|tag| *tag as u32 == meta & 0xff).ok_or(Corrupt)
    }
}

/// An entry's header, read and bounds-checked.
pub(super) struct Head {
    tag: Tag,
    meta: u32,
    times: [u64; 4],
    lens: [u32; 3],
    tail: u32,
    seal: u64,
}

impl Head {
    fn payload(&self) -> usize {
        let optional = optional::len(self.meta);
        self.lens.iter().fold(optional, |sum, len| sum.saturating_add(*len as usize))
    }

    /// The payload's parts, of its bytes in one run.
    fn parts<'p>(&self, payload: &'p [u8]) -> Option<[&'p [u8]; 4]> {
        let (jwt, rest) = payload.split_at_checked(self.lens[0] as usize)?;
        let (scope, rest) = rest.split_at_checked(self.lens[1] as usize)?;
        let (claims, optional) = rest.split_at_checked(self.lens[2] as usize)?;
        Some([jwt, scope, claims, optional])
    }

    /// How many blocks the entry takes.
    pub(super) fn blocks(&self) -> u32 {
        blocks_for(self.payload())
    }

    fn life(&self) -> Life {
        let has = |flag| self.meta & flag != 0;
        let [stored, until, exp, end_ms] = self.times;
        Life {
            stored,
            until: has(HAS_UNTIL).then_some(until),
            exp: has(HAS_EXP).then_some(Expiry { exp, end_ms }),
            may_stale: has(MAY_STALE),
        }
    }
}

impl Locked<'_> {
    /// Copies the entry of a key out and makes it the latest used. It is returned even if it ran
    /// out: whether it may still serve is the caller's matter.
    pub fn find(&mut self, key: &Key, out: &mut Record) -> Find {
        self.sound(Find::Miss, |arena| {
            let Some(block) = arena.entry(key)? else {
                return Ok(Find::Miss);
            };
            if let Err(payload) = arena.copy_entry(block, out)? {
                return Ok(Find::NeedSpace(payload));
            }
            arena.use_now(block)?;
            Ok(Find::Hit)
        })
    }

    /// Makes the entry of a key the latest used; `false` where there is none.
    pub fn touch(&mut self, key: &Key) -> bool {
        self.sound(false, |arena| match arena.entry(key)? {
            Some(block) => arena.use_now(block).map(|()| true),
            None => Ok(false),
        })
    }

    /// Forgets the entry of a key; `false` where there is none. A mark stays.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.sound(false, |arena| match arena.entry(key)? {
            Some(block) => arena.change(|arena| arena.drop_entry(block)).map(|()| true),
            None => Ok(false),
        })
    }

    /// Forgets the entry of a key where it is an active one, and tells how long it was to serve;
    /// `None` where it is not.
    pub fn remove_active(&mut self, key: &Key) -> Option<Life> {
        self.sound(None, |arena| match arena.entry(key)? {
            Some(block) if arena.tag(block)? == Tag::Active => {
                let times = arena.head(block)?.life();
                arena.change(|arena| arena.drop_entry(block)).map(|()| Some(times))
            }
            _ => Ok(None),
        })
    }

    /// Keeps an answer, in place of what the key had.
    ///
    /// An active entry drives out the least recently used; it fails only where it is larger than
    /// the zone can hold. An inactive one drives out other inactive ones only. Where the answer is
    /// not kept, the earlier one is forgotten all the same: it is out of date.
    pub fn store(&mut self, key: &Key, entry: &Entry<'_>) -> Stored {
        self.sound(Stored::NoRoom, |arena| arena.change(|arena| arena.put_entry(key, entry)))
    }

    /// Forgets a token: its entries for every identity and its marks, so that the answers of calls
    /// in flight find no mark. How many there were.
    pub fn purge(&mut self, token: &TokenHash) -> u32 {
        self.sound(0, |arena| {
            let mut purged = 0;
            while let Some(block) = arena.any_of(token)? {
                arena.change(|arena| arena.drop_item(block))?;
                purged += 1;
            }
            Ok(purged)
        })
    }

    fn put_entry(&mut self, key: &Key, entry: &Entry<'_>) -> Sound<Stored> {
        if let Some(old) = self.entry(key)? {
            self.drop_entry(old)?;
        }
        self.reap_inactive(entry.facts.life.stored)?;

        let payload = entry.payload();
        if payload > MAX_PAYLOAD {
            return Ok(Stored::TooLarge);
        }
        if !self.room_in_token(&key.token, entry.kind)? {
            return Ok(Stored::NoRoom);
        }
        let blocks = blocks_for(payload);
        let (list, tag, evicted) = match entry.kind {
            Kind::Active => match self.room_for_active(blocks)? {
                Some(evicted) => (List::ACTIVE, Tag::Active, evicted),
                None => return Ok(Stored::TooLarge),
            },
            Kind::Inactive if self.room_for_small(blocks)? => (List::INACTIVE, Tag::Inactive, 0),
            Kind::Inactive => return Ok(Stored::NoRoom),
        };
        let block = self.write_entry(key, entry, tag, blocks)?;
        self.memory.list_push(list, block)?;
        Ok(Stored::Yes { evicted })
    }

    /// Takes blocks and writes an entry into them; into its chain too, unless it is held by a mark.
    pub(super) fn write_entry(
        &mut self,
        key: &Key,
        entry: &Entry<'_>,
        tag: Tag,
        blocks: u32,
    ) -> Sound<Block> {
        let memory = &self.memory;
        let (first, last) = memory.take_blocks(blocks)?;
        let times = &entry.facts.life;
        let meta = tag as u32
            | optional::bits(&entry.facts)
            | if times.may_stale { MAY_STALE } else { 0 }
            | if times.until.is_some() { HAS_UNTIL } else { 0 }
            | if times.exp.is_some() { HAS_EXP } else { 0 };
        let lens = entry.facts.texts().map(|part| part.len() as u32);
        let (exp, exp_end) = times.exp.map_or((0, 0), |expiry| (expiry.exp, expiry.end_ms));
        let times = [times.stored, times.until.unwrap_or(0), exp, exp_end];

        memory.store32(memory.field(first, item::META), meta);
        memory.store32(memory.field(first, item::TAIL), last.raw());
        for (field, value) in TIMES.into_iter().zip(times) {
            memory.store64(memory.field(first, field), value);
        }
        memory.store64(memory.field(first, item::NOT_BEFORE), 0);
        for (field, len) in LENS.into_iter().zip(lens) {
            memory.store32(memory.field(first, field), len);
        }
        let optional = Optional::of(&entry.facts);
        let [jwt, scope, claims] = entry.facts.texts();
        let parts = [jwt, scope, claims, optional.bytes()];
        self.fill(first, &parts)?;

        if tag == Tag::Held {
            // Only its mark knows it; the key is there for the seal.
            memory.store_key(first, key);
            memory.add32(header::SMALL_BLOCKS, blocks)?;
        } else {
            memory.chain_push(first, key)?;
            memory.add32(blocks_of(tag), blocks)?;
        }
        let head = Head { tag, meta, times, lens, tail: last.raw(), seal: 0 };
        let mut seal = self.seal_head(first, &head);
        seal.write_u64(self.digest(parts));
        memory.store64(memory.field(first, item::SEAL), seal.finish());
        Ok(first)
    }

    /// Lays the payload down along a run of blocks.
    fn fill(&self, first: Block, parts: &[&[u8]; 4]) -> Sound<()> {
        let (mut block, mut from) = (first, ITEM_HEADER);
        for part in parts {
            let mut left = *part;
            while !left.is_empty() {
                if from == BLOCK {
                    (block, from) = (self.memory.after(block)?.ok_or(Corrupt)?, 0);
                }
                let before = left.len();
                left = self.memory.fill(block, from, left);
                from += before - left.len();
            }
        }
        Ok(())
    }

    /// Copies an entry out, checked against its seal: what comes out is what went in under this
    /// key. `Err` is the room that is missing.
    pub(super) fn copy_entry(&self, block: Block, out: &mut Record) -> Sound<Result<(), usize>> {
        (out.lens, out.used) = ([0; 3], 0);
        let head = self.head(block)?;
        let payload = head.payload();
        let Some(room) = out.room.get_mut(..payload) else {
            return Ok(Err(payload));
        };
        self.memory.copy_payload(block, head.tail, room)?;
        let mut seal = self.seal_head(block, &head);
        let parts = head.parts(room).ok_or(Corrupt)?;
        seal.write_u64(self.digest(parts));
        if seal.finish() != head.seal {
            return Err(Corrupt);
        }
        out.kind = if head.tag == Tag::Inactive { Kind::Inactive } else { Kind::Active };
        out.life = head.life();
        (out.nature, out.signer, out.subjects, out.asked) =
            optional::read(head.meta, parts[3]).ok_or(Corrupt)?;
        (out.lens, out.used) = (head.lens.map(|len| len as usize), payload);
        Ok(Ok(()))
    }

    /// Reads an entry's header; the lengths are within what an entry may have.
    pub(super) fn head(&self, block: Block) -> Sound<Head> {
        let word = |field| self.memory.load32(self.memory.field(block, field));
        let long = |field| self.memory.load64(self.memory.field(block, field));
        let meta = word(item::META);
        let head = Head {
            tag: Tag::of(meta)?,
            meta,
            times: TIMES.map(long),
            lens: LENS.map(word),
            tail: word(item::TAIL),
            seal: long(item::SEAL),
        };
        let is_entry = matches!(head.tag, Tag::Active | Tag::Inactive | Tag::Held);
        if is_entry && head.payload() <= MAX_PAYLOAD { Ok(head) } else { Err(Corrupt) }
    }

    /// The checksum over what identifies an item: a keyed hash, so that what is found is what was
    /// written in this epoch under this key.
    pub(super) fn seal(&self, block: Block) -> SipHasher13 {
        let mut seal = SipHasher13::new_with_key(&self.hash_key.0);
        seal.write_u32(self.memory.load32(header::EPOCH));
        for word in 0..4 {
            seal.write_u64(self.memory.load64(self.memory.field(block, item::KEY + 8 * word)));
        }
        seal
    }

    fn seal_head(&self, block: Block, head: &Head) -> SipHasher13 {
        let mut seal = self.seal(block);
        seal.write_u32(head.meta);
        head.times.iter().for_each(|time| seal.write_u64(*time));
        head.lens.iter().for_each(|len| seal.write_u32(*len));
        seal
    }

    /// A digest of the payload for the seal. It is to show damage, not to withstand an attacker,
    /// who cannot write here; so it is one that takes a tenth of SipHash's time.
    fn digest(&self, parts: [&[u8]; 4]) -> u64 {
        let [seed, _] = words(&self.hash_key.0);
        let mut digest = FoldHasher::with_seed(seed, SharedSeed::global_fixed());
        parts.iter().for_each(|part| digest.write(part));
        digest.finish()
    }

    /// The tag of an item.
    pub(super) fn tag(&self, block: Block) -> Sound<Tag> {
        Tag::of(self.memory.load32(self.memory.field(block, item::META)))
    }

    /// The entry of a key.
    pub(super) fn entry(&self, key: &Key) -> Sound<Option<Block>> {
        let mut chain = self.memory.chain(&key.token)?;
        while let Some(block) = chain.step()? {
            match self.tag(block)? {
                Tag::Active | Tag::Inactive if self.memory.is_at(block, key) => {
                    return Ok(Some(block));
                }
                Tag::Held | Tag::Gone => return Err(Corrupt),
                _ => {}
            }
        }
        Ok(None)
    }

    /// Some item of a token.
    fn any_of(&self, token: &TokenHash) -> Sound<Option<Block>> {
        let mut chain = self.memory.chain(token)?;
        while let Some(block) = chain.step()? {
            if self.memory.is_of(block, token) {
                return Ok(Some(block));
            }
        }
        Ok(None)
    }

    fn use_now(&mut self, block: Block) -> Sound<()> {
        let list = self.list_of(block)?;
        if self.memory.list_first(list)? == Some(block) {
            return Ok(());
        }
        self.change(|arena| {
            arena.memory.list_remove(list, block)?;
            arena.memory.list_push(list, block)
        })
    }

    /// The list an item is in.
    pub(super) fn list_of(&self, block: Block) -> Sound<List> {
        match self.tag(block)? {
            Tag::Active => Ok(List::ACTIVE),
            Tag::Inactive => Ok(List::INACTIVE),
            Tag::Calling | Tag::Answered => Ok(List::MARKS),
            Tag::Held | Tag::Gone => Err(Corrupt),
        }
    }

    fn drop_item(&mut self, block: Block) -> Sound<()> {
        match self.tag(block)? {
            Tag::Calling | Tag::Answered => self.drop_mark(block),
            _ => self.drop_entry(block),
        }
    }

    /// Unlinks an entry and frees its blocks.
    pub(super) fn drop_entry(&mut self, block: Block) -> Sound<()> {
        let list = self.list_of(block)?;
        self.memory.chain_remove(block)?;
        self.memory.list_remove(list, block)?;
        self.free_entry(block)
    }

    /// Wipes the JWT of an entry that nothing links to any more, and frees its blocks.
    pub(super) fn free_entry(&mut self, block: Block) -> Sound<()> {
        let head = self.head(block)?;
        self.memory.wipe_payload(block, head.tail, head.blocks())?;
        let tail = self.memory.block(head.tail)?.ok_or(Corrupt)?;
        self.memory.sub32(blocks_of(head.tag), head.blocks())?;
        self.free(block, tail, head.blocks())
    }

    /// Frees a run that begins with an item, which from now on is none.
    pub(super) fn free(&mut self, first: Block, last: Block, blocks: u32) -> Sound<()> {
        self.memory.store32(self.memory.field(first, item::META), Tag::Gone as u32);
        self.memory.give_blocks(first, last, blocks)
    }

    /// Keeps a token to its 8 entries. An inactive one never drives an active one out.
    fn room_in_token(&mut self, token: &TokenHash, kind: Kind) -> Sound<bool> {
        let (mut entries, mut oldest) = (0, None);
        let mut chain = self.memory.chain(token)?;
        while let Some(block) = chain.step()? {
            let tag = self.tag(block)?;
            if matches!(tag, Tag::Active | Tag::Inactive) && self.memory.is_of(block, token) {
                entries += 1;
                if kind == Kind::Active || tag == Tag::Inactive {
                    oldest = Some(block);
                }
            }
        }
        if entries < PER_TOKEN {
            return Ok(true);
        }
        match oldest {
            Some(oldest) => self.drop_entry(oldest).map(|()| true),
            None => Ok(false),
        }
    }

    /// Makes room for an active entry: how many active ones had to go, or `None` where it can be
    /// made by no means. Every round frees at least one block, and the value's size bounds them.
    fn room_for_active(&mut self, blocks: u32) -> Sound<Option<u32>> {
        let active_max = self.memory.geometry.active_max();
        if blocks > active_max {
            return Ok(None);
        }
        let mut evicted = 0;
        while self.memory.load32(header::ACTIVE_BLOCKS) > active_max - blocks {
            self.evict_active()?;
            evicted += 1;
        }
        while self.memory.free_blocks()? < blocks {
            // What is missing, inactive entries took beyond their part.
            match self.memory.list_last(List::INACTIVE)? {
                Some(inactive) => self.drop_entry(inactive)?,
                None if self.memory.list_len(List::ACTIVE) > 0 => {
                    self.evict_active()?;
                    evicted += 1;
                }
                None => return Ok(None),
            }
        }
        Ok(Some(evicted))
    }

    fn evict_active(&mut self) -> Sound<()> {
        let last = self.memory.list_last(List::ACTIVE)?.ok_or(Corrupt)?;
        self.drop_entry(last)?;
        self.memory.count64(header::EVICTIONS);
        Ok(())
    }

    /// Makes room for a mark or an inactive entry, at the expense of inactive entries alone.
    pub(super) fn room_for_small(&mut self, blocks: u32) -> Sound<bool> {
        let small_max = self.memory.geometry.small_max;
        if blocks > small_max {
            return Ok(false);
        }
        while self.memory.load32(header::SMALL_BLOCKS) > small_max - blocks
            || self.memory.free_blocks()? < blocks
        {
            match self.memory.list_last(List::INACTIVE)? {
                Some(inactive) => self.drop_entry(inactive)?,
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Throws away some inactive entries that ran out by `now`, least recently used first.
    fn reap_inactive(&mut self, now: u64) -> Sound<()> {
        for _ in 0..REAPED_AT_ONCE {
            let Some(last) = self.memory.list_last(List::INACTIVE)? else {
                break;
            };
            let head = self.head(last)?;
            if head.meta & HAS_UNTIL == 0 || head.times[1] > now {
                break;
            }
            self.drop_entry(last)?;
        }
        Ok(())
    }
}

/// Where the blocks of an entry are counted.
pub(super) fn blocks_of(tag: Tag) -> usize {
    if tag == Tag::Active { header::ACTIVE_BLOCKS } else { header::SMALL_BLOCKS }
}
