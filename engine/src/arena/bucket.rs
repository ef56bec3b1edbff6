//! Buckets by H(token): one chain holds all of a token's entries and marks, the latest put in
//! first. A bucket of an older epoch is empty.

use super::layout::{header, item};
use super::memory::{Block, Corrupt, Memory, Sound, raw};
use crate::token::key::{IdentityHash, Key, TokenHash};

/// Steps after which a chain is taken for a ring. With about one bucket per entry and keyed hashes
/// a chain has a handful of tokens of at most 8 entries and 32 marks each.
const LONGEST_CHAIN: u32 = 4096;

/// A walk along one chain.
pub(super) struct Chain<'m> {
    memory: &'m Memory,
    next: Option<Block>,
    steps: u32,
}

impl Chain<'_> {
    /// The next item; an error where the chain does not end.
    pub(super) fn step(&mut self) -> Sound<Option<Block>> {
        let Some(block) = self.next else {
            return Ok(None);
        };
        self.steps += 1;
        if self.steps > LONGEST_CHAIN {
            return Err(Corrupt);
        }
        self.next = self.memory.block_at(self.memory.field(block, item::NEXT))?;
        Ok(Some(block))
    }
}

/// The two words of a hash.
pub(super) fn words(hash: &[u8; 16]) -> [u64; 2] {
    let (words, _) = hash.as_chunks::<8>();
    [u64::from_ne_bytes(words[0]), u64::from_ne_bytes(words[1])]
}

impl Memory {
    /// Offset of a token's bucket.
    fn bucket(&self, token: &TokenHash) -> usize {
        let scaled = u128::from(words(&token.0)[0]) * self.geometry.buckets as u128;
        header::SIZE + 8 * (scaled >> 64) as usize
    }

    /// Offset of the n-th bucket.
    pub(super) fn nth_bucket(&self, n: usize) -> usize {
        debug_assert!(n < self.geometry.buckets);
        header::SIZE + 8 * n
    }

    fn bucket_first(&self, bucket: usize) -> Sound<Option<Block>> {
        let value = self.load64(bucket);
        if (value >> 32) as u32 == self.load32(header::EPOCH) {
            self.block(value as u32)
        } else {
            Ok(None)
        }
    }

    fn set_bucket(&self, bucket: usize, first: Option<Block>) {
        let epoch = u64::from(self.load32(header::EPOCH));
        self.store64(bucket, epoch << 32 | u64::from(raw(first)));
    }

    /// The chain that begins at a bucket.
    pub(super) fn chain_at(&self, bucket: usize) -> Sound<Chain<'_>> {
        Ok(Chain { memory: self, next: self.bucket_first(bucket)?, steps: 0 })
    }

    /// The chain that all of a token's items are in, and other tokens' too.
    pub(super) fn chain(&self, token: &TokenHash) -> Sound<Chain<'_>> {
        self.chain_at(self.bucket(token))
    }

    /// Whether an item is of this token.
    pub(super) fn is_of(&self, block: Block, token: &TokenHash) -> bool {
        let at = self.field(block, item::KEY);
        [self.load64(at), self.load64(at + 8)] == words(&token.0)
    }

    /// Whether an item is of this key.
    pub(super) fn is_at(&self, block: Block, key: &Key) -> bool {
        let at = self.field(block, item::KEY);
        self.is_of(block, &key.token)
            && [self.load64(at + 16), self.load64(at + 24)] == words(&key.identity.0)
    }

    /// An item's key.
    pub(super) fn key(&self, block: Block) -> Key {
        let at = self.field(block, item::KEY);
        let hash = |at| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&self.load64(at).to_ne_bytes());
            bytes[8..].copy_from_slice(&self.load64(at + 8).to_ne_bytes());
            bytes
        };
        Key { token: TokenHash(hash(at)), identity: IdentityHash(hash(at + 16)) }
    }

    /// Writes an item's key.
    pub(super) fn store_key(&self, block: Block, key: &Key) {
        let at = self.field(block, item::KEY);
        for (n, word) in words(&key.token.0).into_iter().chain(words(&key.identity.0)).enumerate() {
            self.store64(at + 8 * n, word);
        }
    }

    /// Writes an item's key and puts it in front of its chain.
    pub(super) fn chain_push(&self, block: Block, key: &Key) -> Sound<()> {
        self.store_key(block, key);
        let bucket = self.bucket(&key.token);
        self.store32(self.field(block, item::NEXT), raw(self.bucket_first(bucket)?));
        self.set_bucket(bucket, Some(block));
        Ok(())
    }

    /// Takes an item out of its chain.
    pub(super) fn chain_remove(&self, block: Block) -> Sound<()> {
        let bucket = self.bucket(&self.key(block).token);
        let next = self.block_at(self.field(block, item::NEXT))?;
        let mut chain = self.chain_at(bucket)?;
        let mut before = None;
        while let Some(at) = chain.step()? {
            if at == block {
                match before {
                    None => self.set_bucket(bucket, next),
                    Some(before) => self.store32(self.field(before, item::NEXT), raw(next)),
                }
                return Ok(());
            }
            before = Some(at);
        }
        Err(Corrupt)
    }
}
