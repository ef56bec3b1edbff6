//! What a store answers.

use super::input::answers;
use crate::store::reply::Fault;
use crate::store::wire::{
    Decoder, MAX_ALL_ITEMS, MAX_BULK, MAX_DEPTH, MAX_ITEMS, MAX_LINE, Pipeline,
};
use crate::store::{Reply, ServerError};

/// Replies are what a plain reader finds, however they come; and what stands behind them is never
/// taken for the replies to the next question. An input is one of `http`'s, but for its first number:
/// how many replies are expected.
pub fn store_replies(input: &[u8]) {
    let (numbers, first, second) = answers(input);
    let expected = numbers.first().map_or(1, |number| number % 9);
    let pieces = numbers.get(1..).unwrap_or_default();
    let mut decoder = Decoder::default();
    for bytes in [&first, &second] {
        let found = in_pieces(&mut decoder, bytes, expected, pieces);
        assert_eq!(found, in_pieces(&mut Decoder::default(), bytes, expected, &[]));
        match (plainly(bytes, expected), &found) {
            (Ok(None), Ok(None)) | (Err(()), Err(_)) => {}
            (Ok(Some(plain)), Ok(Some(replies))) => assert_eq!(&plain, replies),
            (plain, found) => panic!("{plain:?} is {found:?}"),
        }
        let Ok(Some(replies)) = found else { return };
        assert!(decoder.is_empty());
        comes_back(&replies);
    }
}

/// What a decoder makes of bytes that come in pieces, those left in one.
fn in_pieces(
    decoder: &mut Decoder,
    bytes: &[u8],
    expected: usize,
    pieces: &[usize],
) -> Result<Option<Vec<Reply>>, Fault> {
    let (mut from, mut to) = (0_usize, 0_usize);
    for piece in pieces.iter().copied().chain([usize::MAX]) {
        to = bytes.len().min(to.saturating_add(piece));
        from += decoder.take(&bytes[from..to], expected)?;
        assert!(from <= to);
        assert!(decoder.missing(to - from) >= 1);
    }
    Ok((decoder.len() == expected).then(|| decoder.replies()))
}

/// Strings and arrays of them are what commands are made of.
fn comes_back(replies: &[Reply]) {
    for reply in replies {
        let Some(words) = reply.array() else { continue };
        let Some(words) = words.iter().map(Reply::bulk).collect::<Option<Vec<_>>>() else {
            continue;
        };
        let mut pipeline = Pipeline::new();
        pipeline.command(&words);
        let again = in_pieces(&mut Decoder::default(), pipeline.as_bytes(), 1, &[]);
        assert_eq!(again, Ok(Some(vec![reply.clone()])));
    }
}

/// A reader that has all there is; nothing: more is to come.
struct Plain<'a> {
    rest: &'a [u8],
    items: usize,
}

fn plainly(bytes: &[u8], expected: usize) -> Result<Option<Vec<Reply>>, ()> {
    let mut plain = Plain { rest: bytes, items: 0 };
    let mut replies = Vec::new();
    for _ in 0..expected {
        match plain.reply(0)? {
            Some(reply) => replies.push(reply),
            None => return Ok(None),
        }
    }
    if plain.rest.is_empty() { Ok(Some(replies)) } else { Err(()) }
}

impl Plain<'_> {
    fn reply(&mut self, depth: usize) -> Result<Option<Reply>, ()> {
        let Some(line) = self.line()? else { return Ok(None) };
        let (kind, content) = line.split_first().ok_or(())?;
        // What is no text is no number either.
        let text = str::from_utf8(content).unwrap_or("?");
        let length = |most: usize| match text {
            "-1" => Ok(None),
            _ if text.starts_with(['+', '-']) => Err(()),
            _ => text.parse().ok().filter(|length| *length <= most).map(Some).ok_or(()),
        };
        let reply = match kind {
            b'+' => Reply::Simple(content.to_vec().into()),
            b'-' => Reply::Error(ServerError::parse(content)),
            b':' if text.starts_with('+') => return Err(()),
            b':' => Reply::Integer(text.parse().map_err(|_| ())?),
            b'$' => match length(MAX_BULK)? {
                None => Reply::Nil,
                Some(length) => {
                    self.count()?;
                    let Some((content, rest)) = self.rest.split_at_checked(length + 2) else {
                        return Ok(None);
                    };
                    self.rest = rest;
                    let content = content.strip_suffix(b"\r\n").ok_or(())?;
                    return Ok(Some(Reply::Bulk(content.to_vec())));
                }
            },
            b'*' => match length(MAX_ITEMS)? {
                None => Reply::Nil,
                Some(0) => Reply::Array(Vec::new()),
                Some(_) if depth == MAX_DEPTH => return Err(()),
                Some(length) => {
                    self.count()?;
                    let mut items = Vec::new();
                    for _ in 0..length {
                        let Some(item) = self.reply(depth + 1)? else { return Ok(None) };
                        items.push(item);
                    }
                    return Ok(Some(Reply::Array(items)));
                }
            },
            _ => return Err(()),
        };
        self.count()?;
        Ok(Some(reply))
    }

    fn count(&mut self) -> Result<(), ()> {
        self.items += 1;
        if self.items > MAX_ALL_ITEMS { Err(()) } else { Ok(()) }
    }

    /// The next line; an end that is no whole one is none.
    fn line(&mut self) -> Result<Option<Vec<u8>>, ()> {
        let mut line = Vec::new();
        let mut bytes = self.rest.iter().copied();
        loop {
            match (bytes.next(), line.len()) {
                (None, _) => return Ok(None),
                (Some(b'\r'), _) => match bytes.next() {
                    None => return Ok(None),
                    Some(b'\n') => break,
                    Some(_) => return Err(()),
                },
                (Some(b'\n'), _) | (Some(_), MAX_LINE) => return Err(()),
                (Some(byte), _) => line.push(byte),
            }
        }
        self.rest = &self.rest[line.len() + 2..];
        Ok(Some(line))
    }
}
