//! What is sent to a store and what comes back, byte by byte: RESP, version 2
//! (<https://valkey.io/topics/protocol>).
//!
//! Nothing is taken from a library here. Those there are take on trust what a server announces, how deep
//! it nests and what it ends a string with: in front of them a parser of our own would be needed.

use std::borrow::Cow;
use std::ops::Deref;
use std::time::Duration;

use super::reply::{Fault, Reply, ServerError};
use crate::wipe::wipe_vec;

#[cfg(test)]
mod tests;

/// The longest string, in bytes: the largest value there is, and some more.
pub const MAX_BULK: usize = 256 * 1024;

/// The longest line, in bytes: of a status, a number, an error or a length, without its end.
pub const MAX_LINE: usize = 4 * 1024;

/// How deep arrays may lie in each other; `XREAD` needs four.
pub const MAX_DEPTH: usize = 6;

/// The most items an array may have.
pub const MAX_ITEMS: usize = 4_096;

/// The most bytes the replies to one question may have together.
pub const MAX_RECEIVED: usize = 1024 * 1024;

/// The most items the replies to one question may have together, arrays counted as one each.
pub const MAX_ALL_ITEMS: usize = 16 * 1024;

/// The commands of one question, as they are sent. Wiped when dropped: a password may be among them.
#[derive(Clone, Default)]
pub struct Pipeline {
    bytes: Vec<u8>,
    commands: usize,
}

impl Pipeline {
    /// A question without commands.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with room for so many bytes: for more of them it grows.
    pub fn with_room(bytes: usize) -> Self {
        Pipeline { bytes: Vec::with_capacity(bytes), commands: 0 }
    }

    /// Appends a command: its name, then its arguments, as they are.
    pub fn command(&mut self, words: &[&[u8]]) -> &mut Self {
        // "*4294967295\r\n" and the like: never more than this beside a word.
        const REST: usize = 16;
        self.reserve(REST + words.iter().map(|word| word.len() + REST).sum::<usize>());
        self.head(b'*', words.len());
        for word in words {
            self.head(b'$', word.len());
            self.bytes.extend_from_slice(word);
            self.bytes.extend_from_slice(b"\r\n");
        }
        self.commands += 1;
        self
    }

    fn reserve(&mut self, more: usize) {
        if self.bytes.capacity() - self.bytes.len() < more {
            // By hand, since a growing `Vec` leaves a copy behind.
            let mut grown = Vec::with_capacity((self.bytes.len() + more).max(512));
            grown.extend_from_slice(&self.bytes);
            wipe_vec(&mut self.bytes);
            self.bytes = grown;
        }
    }

    fn head(&mut self, kind: u8, number: usize) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&Decimal::of(number as u64));
        self.bytes.extend_from_slice(b"\r\n");
    }

    /// Appends the commands of another.
    pub fn append(&mut self, other: &Pipeline) -> &mut Self {
        self.reserve(other.bytes.len());
        self.bytes.extend_from_slice(&other.bytes);
        self.commands += other.commands;
        self
    }

    /// How many commands there are, and so how many replies to expect.
    pub fn len(&self) -> usize {
        self.commands
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.commands == 0
    }

    /// What goes over the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        wipe_vec(&mut self.bytes);
    }
}

impl std::fmt::Debug for Pipeline {
    /// Without a byte of it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("commands", &self.commands).finish_non_exhaustive()
    }
}

/// A number's digits.
pub(super) struct Decimal {
    digits: [u8; Decimal::MOST],
    first: usize,
}

impl Decimal {
    const MOST: usize = 20;

    pub(super) fn of(mut number: u64) -> Decimal {
        let (mut digits, mut first) = ([0; Decimal::MOST], Decimal::MOST);
        loop {
            first -= 1;
            digits[first] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Decimal { digits, first };
            }
        }
    }
}

impl Deref for Decimal {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.digits[self.first..]
    }
}

/// Milliseconds, as `PX` takes them.
pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2).max(1)
}

/// Reads replies however the bytes arrive, and never an item twice.
///
/// What a server announces is judged before anything is made of it: memory is taken only for what has
/// come, and for what is left of one string.
#[derive(Default)]
pub struct Decoder {
    /// The arrays that are not whole yet, the innermost last.
    open: Vec<Open>,
    /// Items of the replies so far.
    items: usize,
    /// The string whose length has come, while its bytes have not: its length.
    bulk: Option<usize>,
    replies: Vec<Reply>,
}

/// An array that is not whole yet.
struct Open {
    left: usize,
    items: Vec<Reply>,
}

impl Decoder {
    /// Takes what it can from the beginning of `input`, and says how many bytes that is. The rest,
    /// never more than a string of [`MAX_BULK`] bytes or a line of [`MAX_LINE`], is to be offered again
    /// with more behind it.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn take(&mut self, input: &[u8], expected: usize) -> Result<usize, Fault> {
        let mut at = 0;
        while self.replies.len() < expected {
            let Some(used) = self.take_item(&input[at..])? else { return Ok(at) };
            at += used;
        }
        if at < input.len() { Err(Fault::Unasked) } else { Ok(at) }
    }

    /// The first of the replies that are whole, so many of them.
    ///
    /// # Panics
    /// There are fewer.
    pub(super) fn first_replies(&mut self, count: usize) -> impl Iterator<Item = Reply> {
        self.replies.drain(..count)
    }

    /// The replies that are whole; the next question begins with none.
    pub fn replies(&mut self) -> Vec<Reply> {
        self.items = 0;
        std::mem::take(&mut self.replies)
    }

    /// How many replies are whole.
    pub fn len(&self) -> usize {
        self.replies.len()
    }

    /// Whether no reply is whole, and none has begun.
    pub fn is_empty(&self) -> bool {
        self.replies.is_empty() && self.open.is_empty() && self.bulk.is_none()
    }

    /// How many bytes are missing at least, with `unread` bytes there: 1 where nobody knows.
    pub fn missing(&self, unread: usize) -> usize {
        self.bulk.map_or(1, |length| (length + 2).saturating_sub(unread).max(1))
    }

    /// Takes a line, or the content of a string; `None` where it has not all come.
    fn take_item(&mut self, input: &[u8]) -> Result<Option<usize>, Fault> {
        if let Some(length) = self.bulk {
            let Some(content) = input.get(..length + 2) else { return Ok(None) };
            let (content, end) = content.split_at(length);
            if end != b"\r\n" {
                return Err(Fault::Malformed);
            }
            self.bulk = None;
            self.add(Reply::Bulk(content.to_vec()));
            return Ok(Some(length + 2));
        }
        let Some(line) = line(input)? else { return Ok(None) };
        let used = line.len() + 2;
        let Some((kind, rest)) = line.split_first() else { return Err(Fault::Malformed) };
        match kind {
            b'+' if rest == b"OK" => self.begin(Reply::Simple(Cow::Borrowed(b"OK")))?,
            b'+' => self.begin(Reply::Simple(Cow::Owned(rest.to_vec())))?,
            b'-' => self.begin(Reply::Error(ServerError::parse(rest)))?,
            b':' => self.begin(Reply::Integer(number(rest)?))?,
            b'$' => match length(rest, MAX_BULK)? {
                None => self.begin(Reply::Nil)?,
                length => {
                    self.count()?;
                    self.bulk = length;
                }
            },
            b'*' => match length(rest, MAX_ITEMS)? {
                None => self.begin(Reply::Nil)?,
                Some(0) => self.begin(Reply::Array(Vec::new()))?,
                Some(left) => {
                    self.count()?;
                    if self.open.len() == MAX_DEPTH {
                        return Err(Fault::TooLarge);
                    }
                    self.open.push(Open { left, items: Vec::new() });
                }
            },
            _ => return Err(Fault::Malformed),
        }
        Ok(Some(used))
    }

    fn begin(&mut self, reply: Reply) -> Result<(), Fault> {
        self.count()?;
        self.add(reply);
        Ok(())
    }

    fn count(&mut self) -> Result<(), Fault> {
        self.items += 1;
        if self.items > MAX_ALL_ITEMS { Err(Fault::TooLarge) } else { Ok(()) }
    }

    /// Puts a whole item where it belongs, and closes the arrays that are whole by it.
    fn add(&mut self, mut item: Reply) {
        while let Some(mut array) = self.open.pop() {
            array.items.push(item);
            array.left -= 1;
            if array.left > 0 {
                self.open.push(array);
                return;
            }
            item = Reply::Array(array.items);
        }
        self.replies.push(item);
    }
}

/// The line that `input` begins with, without its end; `None` where that has not come.
fn line(input: &[u8]) -> Result<Option<&[u8]>, Fault> {
    // One byte more: the line's end may be next.
    let seen = &input[..input.len().min(MAX_LINE + 1)];
    match memchr::memchr2(b'\r', b'\n', seen) {
        None if seen.len() > MAX_LINE => Err(Fault::TooLarge),
        None => Ok(None),
        Some(end) => match (input[end], input.get(end + 1)) {
            (b'\r', None) => Ok(None),
            (b'\r', Some(b'\n')) => Ok(Some(&input[..end])),
            _ => Err(Fault::Malformed),
        },
    }
}

/// A number as servers write it: digits, a minus before them or none.
fn number(text: &[u8]) -> Result<i64, Fault> {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    if !digits.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Malformed);
    }
    let text = str::from_utf8(text).map_err(|_| Fault::Malformed)?;
    text.parse().map_err(|_| Fault::Malformed)
}

/// How long a string or an array is; `None`: there is none (-1).
fn length(text: &[u8], most: usize) -> Result<Option<usize>, Fault> {
    if text == b"-1" {
        return Ok(None);
    }
    // However many digits: a number that does not fit is too large as well.
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err(Fault::Malformed);
    }
    let length = str::from_utf8(text).ok().and_then(|text| text.parse::<usize>().ok());
    length.filter(|length| *length <= most).map(Some).ok_or(Fault::TooLarge)
}
