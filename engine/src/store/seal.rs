//! How bytes are sealed that stand in the store: encrypted and bound to the place they stand in.
//!
//! ```text
//! form ‖ version ‖ nonce (12) ‖ AES-256-GCM(key, nonce, besides, text)
//! besides = form ‖ version ‖ length of the name ‖ name ‖ what else it is bound to
//! text    = length of the content ‖ content ‖ zeros, in steps of 256 bytes
//! ```
//!
//! Nonces are random: a key is for one token and identity, or for events of which there are few, and so
//! far from the cipher's limit.

use crate::jose::primitives::{TAG_LEN, decrypt, encrypt, random};
use crate::wipe::{wipe, wipe_vec};

/// Rises with every change of what is sealed, and of how.
const VERSION: u8 = 1;

const NONCE_LEN: usize = 12;

/// What stands in front of the encrypted text.
const FRONT: usize = 2 + NONCE_LEN;

/// Texts are as long as some multiple of this, so that their length tells little.
const STEP: usize = 256;

/// In front of the content.
const LEN: usize = 4;

/// What is sealed, by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Form {
    /// What is known of a token.
    Value = b'V',
    /// Who is asking about a token.
    Marker = b'M',
    /// A purge.
    Event = b'E',
    /// What a gateway says of itself.
    Peer = b'P',
}

/// The place that sealed bytes are bound to.
#[derive(Clone, Copy)]
pub(super) struct Bound<'a> {
    pub(super) form: Form,
    /// The key of the store.
    pub(super) name: &'a [u8],
    /// What else must be the same: a lease.
    pub(super) to: &'a [u8],
}

impl Bound<'_> {
    fn bytes(&self) -> Vec<u8> {
        let len = (self.name.len() as u32).to_be_bytes();
        [&[self.form as u8, VERSION], &len[..], self.name, self.to].concat()
    }
}

/// A content that was opened; wiped when dropped.
pub(super) struct Opened(Vec<u8>);

impl Opened {
    pub(super) fn content(&self) -> &[u8] {
        let len = self.0.first_chunk().map_or(0, |len| u32::from_be_bytes(*len) as usize);
        self.0.get(LEN..LEN + len).unwrap_or_default()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        wipe_vec(&mut self.0);
    }
}

/// How long sealed bytes are that hold so much.
pub(super) fn sealed_len(content: usize) -> usize {
    FRONT + (LEN + content).next_multiple_of(STEP) + TAG_LEN
}

/// Random bytes for one seal: whoever seals twice under them gives the key away.
pub(super) struct Nonce([u8; NONCE_LEN]);

impl Nonce {
    /// `None` where the system gives no random bytes.
    pub(super) fn random() -> Option<Nonce> {
        random().ok().map(Nonce)
    }
}

/// Random bytes for a lease, and for two seals: one system call where three would cost a microsecond more.
pub(super) fn randoms() -> Option<([u8; 16], [Nonce; 2])> {
    let all: [u8; 16 + 2 * NONCE_LEN] = random().ok()?;
    let (lease, rest) = all.split_first_chunk()?;
    let (one, rest) = rest.split_first_chunk()?;
    Some((*lease, [Nonce(*one), Nonce(*rest.first_chunk()?)]))
}

/// Seals what a content's parts make together; `None` where they are too long.
pub(super) fn seal(
    key: &[u8; 32],
    Nonce(nonce): Nonce,
    bound: Bound<'_>,
    content: &[&[u8]],
) -> Option<Vec<u8>> {
    let len = content.iter().map(|part| part.len()).sum::<usize>();
    // With room for all that comes: a vector that grows leaves a copy behind.
    let mut out = Vec::with_capacity(sealed_len(len));
    out.extend_from_slice(&[bound.form as u8, VERSION]);
    out.extend_from_slice(&nonce);
    out.extend_from_slice(&u32::try_from(len).ok()?.to_be_bytes());
    content.iter().for_each(|part| out.extend_from_slice(part));
    out.resize(FRONT + (LEN + len).next_multiple_of(STEP), 0);
    let Ok(tag) = encrypt(key, nonce, &bound.bytes(), &mut out[FRONT..]) else {
        wipe_vec(&mut out);
        return None;
    };
    out.extend_from_slice(&tag);
    Some(out)
}

/// The form that sealed bytes have, by what they begin with; `None` where it is none that is known.
pub(super) fn form(sealed: &[u8]) -> Option<Form> {
    match sealed.first_chunk()? {
        [b'V', VERSION] => Some(Form::Value),
        [b'M', VERSION] => Some(Form::Marker),
        [b'E', VERSION] => Some(Form::Event),
        [b'P', VERSION] => Some(Form::Peer),
        _ => None,
    }
}

/// Opens sealed bytes; `None` where they were not sealed under this key and for this place.
pub(super) fn open(key: &[u8; 32], bound: Bound<'_>, sealed: &[u8]) -> Option<Opened> {
    let (front, rest) = sealed.split_first_chunk::<FRONT>()?;
    if front[..2] != [bound.form as u8, VERSION] {
        return None;
    }
    let mut nonce = [0; NONCE_LEN];
    nonce.copy_from_slice(&front[2..]);
    let mut text = rest.to_vec();
    let Some(len) = decrypt(key, nonce, &bound.bytes(), &mut text) else {
        // Some of it may be decrypted.
        wipe(&mut text);
        return None;
    };
    text.truncate(len);
    let opened = Opened(text);
    let content = opened.content().len();
    let (len, padding) = opened.0.split_at_checked(LEN + content)?;
    let says = u32::from_be_bytes(*len.first_chunk()?) as usize;
    let plain = padding.len() < STEP && padding.iter().all(|byte| *byte == 0);
    (says == content && opened.0.len().is_multiple_of(STEP) && plain).then_some(opened)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const PLACE: Bound<'_> = Bound { form: Form::Value, name: b"name", to: b"lease" };

    fn nonce() -> Nonce {
        Nonce::random().expect("random bytes")
    }

    fn sealed(content: &[u8]) -> Vec<u8> {
        seal(&KEY, nonce(), PLACE, &[content]).expect("a content")
    }

    #[test]
    fn in_another_place_it_does_not_open() {
        let value = sealed(b"content");
        assert_eq!(open(&KEY, PLACE, &value).expect("it opens").content(), b"content");
        for place in [
            Bound { form: Form::Marker, ..PLACE },
            Bound { form: Form::Event, ..PLACE },
            Bound { form: Form::Peer, ..PLACE },
            Bound { name: b"nam", ..PLACE },
            Bound { name: b"namf", ..PLACE },
            Bound { name: b"", ..PLACE },
            Bound { to: b"leasf", ..PLACE },
            Bound { to: b"", ..PLACE },
            // What belongs to one part must not be taken for the other's.
            Bound { name: b"namel", to: b"ease", ..PLACE },
        ] {
            assert!(open(&KEY, place, &value).is_none());
            // Nor where the first byte says that it is of that form.
            let mut renamed = value.clone();
            renamed[0] = place.form as u8;
            assert!(open(&KEY, place, &renamed).is_none());
        }
        for nth in 0..32 {
            let mut key = KEY;
            key[nth] ^= 1;
            assert!(open(&key, PLACE, &value).is_none());
        }
    }

    #[test]
    fn no_bit_of_it_may_change() {
        let value = sealed(b"content");
        for at in 0..8 * value.len() {
            let mut changed = value.clone();
            changed[at / 8] ^= 1 << (at % 8);
            assert!(open(&KEY, PLACE, &changed).is_none(), "bit {at}");
        }
        for len in 0..value.len() {
            assert!(open(&KEY, PLACE, &value[..len]).is_none());
        }
        assert!(open(&KEY, PLACE, &[&value[..], b"\0"].concat()).is_none());
    }

    #[test]
    fn a_text_that_is_not_written_so_does_not_open() {
        let long = (252_u32.to_be_bytes(), 256);
        for (len, text_len, last) in [
            (0_u32.to_be_bytes(), 255, 0),
            (0_u32.to_be_bytes(), 512, 0),
            (0_u32.to_be_bytes(), 256, 1),
            (253_u32.to_be_bytes(), 256, 0),
            (u32::MAX.to_be_bytes(), 256, 0),
            (long.0, 512, 0),
            (long.0, 0, 0),
        ] {
            let mut text = len.to_vec();
            text.resize(text_len, 0);
            if let Some(byte) = text.last_mut() {
                *byte = last;
            }
            let tag = encrypt(&KEY, [1; 12], &PLACE.bytes(), &mut text).expect("a text");
            let value = [&[b'V', VERSION][..], &[1; 12], &text, &tag].concat();
            assert!(open(&KEY, PLACE, &value).is_none(), "{len:?} {text_len} {last}");
        }
    }

    #[test]
    fn nothing_is_sealed_alike_twice() {
        let all: std::collections::HashSet<_> = (0..100).map(|_| sealed(b"content")).collect();
        assert_eq!(all.len(), 100);
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens(content: Vec<u8>, name: Vec<u8>, to: Vec<u8>, key: [u8; 32]) {
            let place = Bound { form: Form::Event, name: &name, to: &to };
            let (one, other) = content.split_at(content.len() / 2);
            let value = seal(&key, nonce(), place, &[one, other]).expect("a content");
            prop_assert_eq!(value.len(), sealed_len(content.len()));
            prop_assert_eq!((value.len() - FRONT - TAG_LEN) % STEP, 0);
            prop_assert_eq!(form(&value), Some(Form::Event));
            let opened = open(&key, place, &value).expect("it opens");
            prop_assert_eq!(opened.content(), content);
        }

        #[test]
        fn nothing_else_opens(bytes: Vec<u8>) {
            let form = form(&bytes).unwrap_or(Form::Value);
            let place = Bound { form, ..PLACE };
            prop_assert!(open(&KEY, place, &bytes).is_none());
        }
    }
}
