//! The fleet's keys: the same files on all gateways, and from each a key for each purpose.

use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::jose::primitives::hkdf_sha256;
use crate::token::key::HashKey;
use crate::wipe::wipe;

/// The shortest key file, in bytes.
pub const MIN_LEN: usize = 32;

/// The fleet's keys (`phantom_token_key_file`), the one in force first: it names and seals. Purges are
/// sent and heard under all of them, so that keys can be changed while a fleet runs.
pub struct FleetKeys(Box<[FleetKey]>);

/// What is derived from one key file.
pub struct FleetKey {
    /// Hashes tokens and subjects: the fleet's H(token).
    pub(super) find: HashKey,
    /// Names keys of the store.
    pub(super) name: Zeroizing<[u8; 32]>,
    /// Seals values, together with the token.
    pub(super) seal: Zeroizing<[u8; 32]>,
    /// Seals what gateways tell each other: purges, and lines about themselves.
    pub(super) event: Zeroizing<[u8; 32]>,
}

/// Why key files are not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// There is none.
    #[error("no key")]
    None,
    /// The file at this place of the list is too short.
    #[error("the key is shorter than {MIN_LEN} bytes")]
    Short(usize),
    /// The files at these places of the list have the same key.
    #[error("the key is there twice")]
    Twice(usize, usize),
}

impl FleetKeys {
    /// Derives the keys from the contents of key files. A line end behind a key, which editors put
    /// there, does not count.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn new(files: &[&[u8]]) -> Result<FleetKeys, KeyError> {
        if files.is_empty() {
            return Err(KeyError::None);
        }
        for (nth, file) in files.iter().enumerate() {
            // With its line end: the last of random bytes may look like one.
            if file.len() < MIN_LEN {
                return Err(KeyError::Short(nth));
            }
            let same = |other: &&[u8]| secret(other) == secret(file);
            if let Some(first) = files[..nth].iter().position(same) {
                return Err(KeyError::Twice(first, nth));
            }
        }
        Ok(FleetKeys(files.iter().map(|file| FleetKey::new(secret(file))).collect()))
    }

    /// Returns the key in force.
    pub fn first(&self) -> &FleetKey {
        &self.0[0]
    }

    /// Returns all keys, the one in force first.
    pub fn all(&self) -> &[FleetKey] {
        &self.0
    }
}

impl FleetKey {
    fn new(secret: &[u8]) -> FleetKey {
        let derive = |purpose: &[u8]| {
            Zeroizing::new(hkdf_sha256(b"phantom_token fleet", secret, &[b"1 ", purpose]))
        };
        let mut find = [0; 16];
        find.copy_from_slice(&derive(b"find")[..16]);
        let [name, seal, event] = [&b"name"[..], b"seal", b"event"].map(derive);
        FleetKey { find: HashKey(find), name, seal, event }
    }

    /// Returns the key of token and subject hashes: where a store is on, of all of this gateway's.
    pub fn hash_key(&self) -> &HashKey {
        &self.find
    }
}

/// A file's bytes without one line end behind them.
fn secret(file: &[u8]) -> &[u8] {
    let line = file.strip_suffix(b"\n").unwrap_or(file);
    line.strip_suffix(b"\r").filter(|_| line.len() < file.len()).unwrap_or(line)
}

impl Drop for FleetKey {
    fn drop(&mut self) {
        wipe(&mut self.find.0);
    }
}

impl fmt::Debug for FleetKeys {
    /// How many there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FleetKeys").field(&self.0.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &[u8] = b"an old key of thirty-two bytes..";
    const NEW: &[u8] = b"another key, of more than that....";

    fn keys(files: &[&[u8]]) -> FleetKeys {
        FleetKeys::new(files).expect("keys")
    }

    /// All that is derived from a file.
    fn derived(key: &FleetKey) -> [Vec<u8>; 4] {
        [&key.find.0[..], &key.name[..], &key.seal[..], &key.event[..]].map(<[u8]>::to_vec)
    }

    #[test]
    fn each_file_and_purpose_has_its_own() {
        let both = keys(&[OLD, NEW]);
        let all: Vec<_> = both.all().iter().flat_map(derived).collect();
        for (nth, one) in all.iter().enumerate() {
            assert!(all[..nth].iter().all(|other| !other.starts_with(one)), "{nth}");
        }
        assert_eq!(derived(both.first()), derived(keys(&[OLD]).first()), "whatever comes behind");
        assert_eq!(derived(&both.all()[1]), derived(keys(&[NEW]).first()));
    }

    #[test]
    fn one_line_end_does_not_count() {
        let derived_of = |file: &[u8]| derived(keys(&[file]).first());
        for end in ["\n", "\r\n"] {
            assert_eq!(derived_of(&[OLD, end.as_bytes()].concat()), derived_of(OLD));
        }
        for end in ["\r", "\n\n", " "] {
            assert_ne!(derived_of(&[OLD, end.as_bytes()].concat()), derived_of(OLD), "{end:?}");
        }
    }

    #[test]
    fn short_keys_and_equal_ones_are_refused() {
        assert!(keys(&[&[b'\n'; 32]]).all().len() == 1, "random bytes may end so");
        for (files, error) in [
            (&[][..], KeyError::None),
            (&[&OLD[1..]], KeyError::Short(0)),
            (&[OLD, b""], KeyError::Short(1)),
            (&[OLD, NEW, b"an old key of thirty-two bytes..\n"], KeyError::Twice(0, 2)),
        ] {
            assert_eq!(FleetKeys::new(files).expect_err("none"), error);
        }
    }

    #[test]
    fn nothing_of_them_is_shown() {
        assert_eq!(format!("{:?}", keys(&[OLD, NEW])), "FleetKeys(2)");
    }
}
