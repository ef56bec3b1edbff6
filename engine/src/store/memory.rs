//! A store in memory, for tests: the few commands that are used, on a clock that is passed in, and the
//! accidents that happen to stores.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::reply::ServerError;
use super::{Nodes, Pipeline, Reply, StoreError};
use crate::client::Phase;

/// A key's value.
#[derive(Clone, Debug)]
enum Value {
    Bytes(Vec<u8>),
    Stream(Stream),
}

#[derive(Clone, Debug)]
struct Kept {
    value: Value,
    end: Option<u64>,
    order: u64,
}

/// Entries by their ids, and the last id there was.
#[derive(Clone, Debug, Default)]
struct Stream {
    entries: BTreeMap<(u64, u64), Vec<Vec<u8>>>,
    last: (u64, u64),
}

/// The store's contents at one time.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    now_ms: u64,
    /// Values, when they end, and in which order they came.
    keys: HashMap<Vec<u8>, Kept>,
    count: u64,
    /// It takes no writes, and says so.
    pub full: Option<ServerError>,
    /// It does not answer.
    pub away: bool,
    /// What was told while it did not answer; it reads that later.
    unread: Vec<Pipeline>,
    /// How many commands it has seen.
    pub commands: u64,
}

/// A store in memory. Clones have the same contents.
#[derive(Clone, Debug, Default)]
pub struct Memory(pub Arc<Mutex<Contents>>);

impl Nodes for Memory {
    fn ask(&self, question: &Pipeline, _: Instant) -> Result<Vec<Reply>, StoreError> {
        let mut contents = self.0.lock();
        if contents.away {
            contents.unread.push(question.clone());
            return Err(StoreError::Timeout(Phase::Wait));
        }
        Ok(contents.run(question))
    }

    fn tell(&self, commands: Pipeline) -> Result<(), StoreError> {
        let mut contents = self.0.lock();
        if contents.away {
            contents.unread.push(commands);
            return Ok(());
        }
        contents.run(&commands);
        Ok(())
    }
}

impl Memory {
    /// Sets the time, in milliseconds since the Unix epoch.
    pub fn at(&self, now_ms: u64) {
        self.0.lock().at(now_ms);
    }
}

impl Contents {
    /// Sets the time, in milliseconds since the Unix epoch; what has ended by then is gone.
    pub fn at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
        self.keys.retain(|_, kept| kept.end.is_none_or(|end| now_ms < end));
    }

    /// Answers again, after it has done what it was told meanwhile.
    pub fn comes_back(&mut self) {
        self.away = false;
        for pipeline in std::mem::take(&mut self.unread) {
            self.run(&pipeline);
        }
    }

    /// Loses everything, as by `FLUSHALL`.
    pub fn flush(&mut self) {
        self.keys.clear();
    }

    /// Loses one key, as by eviction.
    pub fn lose(&mut self, key: &[u8]) -> bool {
        self.keys.remove(key).is_some()
    }

    /// All keys there are, the oldest first.
    pub fn names(&self) -> Vec<Vec<u8>> {
        let mut names: Vec<_> = self.keys.iter().collect();
        names.sort_by_key(|(_, kept)| kept.order);
        names.into_iter().map(|(name, _)| name.clone()).collect()
    }

    /// The bytes of a key; `None` where there are none.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        match self.keys.get(key) {
            Some(Kept { value: Value::Bytes(bytes), .. }) => Some(bytes),
            _ => None,
        }
    }

    /// Puts bytes under a key, for good.
    pub fn put(&mut self, key: &[u8], bytes: &[u8]) {
        self.keep(key, Value::Bytes(bytes.to_vec()), None);
    }

    /// When a key ends, in milliseconds since the Unix epoch; `None` where it does not.
    pub fn end(&self, key: &[u8]) -> Option<u64> {
        self.keys.get(key).and_then(|kept| kept.end)
    }

    fn keep(&mut self, key: &[u8], value: Value, end: Option<u64>) -> &mut Kept {
        self.count += 1;
        let kept = Kept { value, end, order: self.count };
        self.keys.entry(key.to_vec()).insert_entry(kept).into_mut()
    }

    /// The last id that there was in a stream; `None` where there is none.
    pub fn last_id(&self, key: &[u8]) -> Option<(u64, u64)> {
        match self.keys.get(key) {
            Some(Kept { value: Value::Stream(stream), .. }) => Some(stream.last),
            _ => None,
        }
    }

    /// Does what it is told.
    pub fn run(&mut self, pipeline: &Pipeline) -> Vec<Reply> {
        commands(pipeline.as_bytes()).iter().map(|words| self.command(words)).collect()
    }

    /// What the last of the commands comes to.
    pub fn last(&mut self, pipeline: &Pipeline) -> Option<Reply> {
        commands(pipeline.as_bytes()).last().map(|words| self.command(words))
    }

    fn command(&mut self, words: &[Vec<u8>]) -> Reply {
        self.commands += 1;
        let words: Vec<&[u8]> = words.iter().map(|word| &word[..]).collect();
        let writes = matches!(words[0], b"SET" | b"XADD");
        match self.full {
            Some(error) if writes => return Reply::Error(error),
            _ => {}
        }
        match &words[..] {
            [b"GET", key] => self.value(key),
            [b"MGET", keys @ ..] => Reply::Array(keys.iter().map(|key| self.value(key)).collect()),
            [b"SET", key, value, options @ ..] => self.set(key, value, options),
            [b"DEL", key] => Reply::Integer(self.lose(key).into()),
            [b"PEXPIRE", key, life] => {
                let end = self.now_ms + number(life);
                let key = self.keys.get_mut(*key);
                Reply::Integer(key.map(|kept| kept.end = Some(end)).is_some().into())
            }
            [b"XADD", key, b"MAXLEN", b"~", most, b"*", fields @ ..] => {
                self.add(key, number(most) as usize, fields)
            }
            [b"XRANGE", key, first, last] => {
                let entries = self.entries(key, id(first)..=id(last));
                Reply::Array(entries)
            }
            [b"XREVRANGE", key, b"+", b"-", b"COUNT", most] => {
                let mut entries = self.entries(key, (0, 0)..=(u64::MAX, u64::MAX));
                entries.reverse();
                entries.truncate(number(most) as usize);
                Reply::Array(entries)
            }
            // Nobody waits here: a test asks again when something has changed.
            [b"XREAD", b"COUNT", most, b"STREAMS", key, after]
            | [b"XREAD", b"COUNT", most, b"BLOCK", _, b"STREAMS", key, after] => {
                let (ms, sequence) = id(after);
                let mut entries = self.entries(key, (ms, sequence + 1)..=(u64::MAX, u64::MAX));
                entries.truncate(number(most) as usize);
                match entries.is_empty() {
                    true => Reply::Nil,
                    false => Reply::Array(vec![Reply::Array(vec![
                        Reply::Bulk(key.to_vec()),
                        Reply::Array(entries),
                    ])]),
                }
            }
            _ => Reply::Error(ServerError::Other),
        }
    }

    fn value(&self, key: &[u8]) -> Reply {
        self.get(key).map_or(Reply::Nil, |bytes| Reply::Bulk(bytes.to_vec()))
    }

    fn set(&mut self, key: &[u8], value: &[u8], options: &[&[u8]]) -> Reply {
        let has = |option: &[u8]| options.contains(&option);
        let is_there = self.keys.contains_key(key);
        if has(b"NX") && is_there || has(b"XX") && !is_there {
            return Reply::Nil;
        }
        let life = options.iter().position(|option| *option == b"PX").map(|at| options[at + 1]);
        let end = life.map(|life| self.now_ms + number(life));
        self.keep(key, Value::Bytes(value.to_vec()), end);
        Reply::Simple(b"OK".into())
    }

    fn add(&mut self, key: &[u8], most: usize, fields: &[&[u8]]) -> Reply {
        let now_ms = self.now_ms;
        let kept = match self.keys.contains_key(key) {
            true => self.keys.get_mut(key),
            false => Some(self.keep(key, Value::Stream(Stream::default()), None)),
        };
        let Some(Kept { value: Value::Stream(stream), .. }) = kept else {
            return Reply::Error(ServerError::WrongType);
        };
        let (ms, sequence) = stream.last;
        stream.last = if now_ms > ms { (now_ms, 0) } else { (ms, sequence + 1) };
        let fields = fields.iter().map(|field| field.to_vec()).collect();
        stream.entries.insert(stream.last, fields);
        while stream.entries.len() > most {
            stream.entries.pop_first();
        }
        let (ms, sequence) = stream.last;
        Reply::Bulk(format!("{ms}-{sequence}").into_bytes())
    }

    fn entries(&self, key: &[u8], range: std::ops::RangeInclusive<(u64, u64)>) -> Vec<Reply> {
        let Some(Kept { value: Value::Stream(stream), .. }) = self.keys.get(key) else {
            return Vec::new();
        };
        let entry = |((ms, sequence), fields): (&(u64, u64), &Vec<Vec<u8>>)| {
            Reply::Array(vec![
                Reply::Bulk(format!("{ms}-{sequence}").into_bytes()),
                Reply::Array(fields.iter().cloned().map(Reply::Bulk).collect()),
            ])
        };
        stream.entries.range(range).map(entry).collect()
    }
}

/// The commands of a pipeline, taken apart again.
fn commands(mut bytes: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let words = length(&mut bytes);
        let word = |_| {
            let length = length(&mut bytes);
            let (word, rest) = bytes.split_at(length);
            bytes = &rest[2..];
            word.to_vec()
        };
        all.push((0..words).map(word).collect());
    }
    all
}

/// The number in a line that announces so many words or bytes.
fn length(bytes: &mut &[u8]) -> usize {
    let end = bytes.windows(2).position(|end| end == b"\r\n").expect("a line");
    let (line, rest) = bytes.split_at(end);
    *bytes = &rest[2..];
    number(&line[1..]) as usize
}

fn number(text: &[u8]) -> u64 {
    str::from_utf8(text).ok().and_then(|text| text.parse().ok()).expect("a number")
}

fn id(text: &[u8]) -> (u64, u64) {
    let text = str::from_utf8(text).expect("an id");
    match text {
        "-" => (0, 0),
        "+" => (u64::MAX, u64::MAX),
        text => {
            let (ms, sequence) = text.split_once('-').unwrap_or((text, "0"));
            (number(ms.as_bytes()), number(sequence.as_bytes()))
        }
    }
}

/// The pipeline that these bytes are.
#[cfg(test)]
pub(super) fn again(bytes: &[u8]) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for words in commands(bytes) {
        pipeline.command(&words.iter().map(|word| &word[..]).collect::<Vec<_>>());
    }
    pipeline
}
