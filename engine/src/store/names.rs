//! What things are called in the store. Nobody who reads a name can tell for which token it is.
//!
//! ```text
//! phantom_token:1:{N}:g        the lease of a token, 16 random bytes
//! phantom_token:1:{N}:I        what is known of the token by one identity: a marker, a value
//! phantom_token:1:{N}:I:r      the marker of who refreshes that
//! {phantom_token:1}:e          the epoch, 16 random bytes
//! {phantom_token:1}:s          the stream of purges
//! {phantom_token:1}:p          the stream in which gateways tell of themselves
//! ```
//!
//! In front stands the configured prefix, and the layout's version: gateways that write another layout
//! do not meet. All names of one token have one hash tag, so that they stay in one slot of a Cluster.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::keys::FleetKey;
use crate::jose::primitives::{hmac_sha256, random, sha256};
use crate::token::key::TokenHash;

/// Rises with every change of what is written, and of what it means.
const LAYOUT: u8 = 1;

/// The longest prefix, in bytes.
const MAX_PREFIX: usize = 128;

/// What all names and values of one time are bound to: 16 random bytes in the store. A store that has
/// lost them has lost everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch(pub [u8; 16]);

/// What all values of a token are bound to: 16 random bytes in the store, which a purge deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease(pub(super) [u8; 16]);

impl Epoch {
    /// Makes a new one; `None` where the system gives no random bytes.
    pub fn random() -> Option<Epoch> {
        random().ok().map(Epoch)
    }

    /// Reads what stands in the store; `None` where that is none.
    pub fn read(bytes: &[u8]) -> Option<Epoch> {
        bytes.try_into().ok().map(Epoch)
    }
}

/// All settings that may change what the server answers, as [`IdentityHash`] has them, but the same on
/// all gateways: without the zone's name, with the bytes of certificate files instead of their names,
/// and with the store's prefix.
///
/// [`IdentityHash`]: crate::token::key::IdentityHash
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity(pub(super) [u8; 32]);

impl Identity {
    /// Makes it of parts, in a fixed order.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Identity {
        let mut all = Vec::new();
        for part in parts {
            all.extend_from_slice(&(part.len() as u64).to_be_bytes());
            all.extend_from_slice(part);
        }
        Identity(sha256(&all))
    }

    /// Returns it as bytes, to be a part of another.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The names that begin with one prefix.
#[derive(Clone, Debug)]
pub struct Names {
    /// `phantom_token:1`
    base: Box<str>,
    epoch: Box<[u8]>,
    stream: Box<[u8]>,
    peers: Box<[u8]>,
}

impl Names {
    /// Makes the names behind a prefix; `None` where that is none: letters, digits, `_`, `-`, `.` and
    /// `:` can be one.
    pub fn new(prefix: &str) -> Option<Names> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.:".contains(&byte);
        if prefix.is_empty() || prefix.len() > MAX_PREFIX || !prefix.bytes().all(fits) {
            return None;
        }
        Some(Names::behind(prefix))
    }

    fn behind(prefix: &str) -> Names {
        let base = format!("{prefix}:{LAYOUT}");
        let [epoch, stream, peers] =
            ["e", "s", "p"].map(|what| format!("{{{base}}}:{what}").into_bytes().into());
        Names { base: base.into(), epoch, stream, peers }
    }

    /// The epoch's key.
    pub fn epoch(&self) -> &[u8] {
        &self.epoch
    }

    /// The key of the stream of purges.
    pub fn stream(&self) -> &[u8] {
        &self.stream
    }

    /// The key of the stream in which gateways tell of themselves.
    pub fn peers(&self) -> &[u8] {
        &self.peers
    }

    /// The key of a token's lease. `token` is the hash under the same fleet key.
    pub fn lease(&self, key: &FleetKey, epoch: &Epoch, token: &TokenHash) -> Vec<u8> {
        let mac = hmac_sha256(&key.name[..], &[b"t", &epoch.0, &token.0]);
        let mut name = String::with_capacity(self.base.len() + 27);
        name.push_str(&self.base);
        name.push_str(":{");
        URL_SAFE_NO_PAD.encode_string(&mac[..16], &mut name);
        name.push_str("}:g");
        name.into_bytes()
    }
}

impl Default for Names {
    /// Those behind the prefix that is used where none is configured.
    fn default() -> Names {
        Names::behind("phantom_token")
    }
}

/// The names of what is known of a token by one identity.
pub(super) struct OfToken {
    lease: Vec<u8>,
    /// The name of the marker of who refreshes the value; the value's own stands in front of it.
    refresh: Vec<u8>,
    /// The identity, as it stands in names and keys: hashed under the fleet key.
    pub(super) identity: [u8; 32],
}

/// Behind the name of a value.
const REFRESH: &[u8] = b":r";

impl OfToken {
    pub(super) fn new(
        names: &Names,
        key: &FleetKey,
        epoch: &Epoch,
        token: &TokenHash,
        identity: &Identity,
    ) -> OfToken {
        let lease = names.lease(key, epoch, token);
        let identity = hmac_sha256(&key.name[..], &[b"i", &identity.0]);
        let mut short = [0; 11];
        // As long as eight bytes are in Base64.
        let encoded = URL_SAFE_NO_PAD.encode_slice(&identity[..8], &mut short);
        debug_assert_eq!(encoded, Ok(short.len()));
        let refresh = [&lease[..lease.len() - 1], &short, REFRESH].concat();
        OfToken { lease, refresh, identity }
    }

    /// The lease.
    pub(super) fn lease(&self) -> &[u8] {
        &self.lease
    }

    /// The value, or the marker of who asks for it.
    pub(super) fn value(&self) -> &[u8] {
        &self.refresh[..self.refresh.len() - REFRESH.len()]
    }

    /// The marker of who refreshes the value.
    pub(super) fn refresh(&self) -> &[u8] {
        &self.refresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::keys::FleetKeys;

    const KEYS: [&[u8]; 2] = [&[1; 32], &[2; 32]];
    const EPOCH: Epoch = Epoch([3; 16]);

    fn of(prefix: &str, key: usize, epoch: Epoch, token: u8, identity: &[u8]) -> [String; 3] {
        let (names, keys) = (Names::new(prefix).unwrap(), FleetKeys::new(&KEYS).unwrap());
        let identity = Identity::of([identity]);
        let token = TokenHash([token; 16]);
        let of = OfToken::new(&names, &keys.all()[key], &epoch, &token, &identity);
        [of.lease(), of.value(), of.refresh()].map(|name| String::from_utf8(name.to_vec()).unwrap())
    }

    fn tag(name: &str) -> &str {
        name.split_once('{').and_then(|(_, rest)| rest.split_once('}')).expect("a hash tag").0
    }

    #[test]
    fn what_belongs_to_a_token_has_its_tag_and_nothing_else_has() {
        let [lease, value, refresh] = of("pt", 0, EPOCH, 1, b"a");
        assert!(lease.starts_with("pt:1:{") && lease.ends_with("}:g"), "{lease}");
        assert!(tag(&lease) == tag(&value) && tag(&value) == tag(&refresh));
        assert_eq!(tag(&lease).len(), 22);
        assert_eq!(refresh, format!("{value}:r"));
        let [other_lease, other_value, _] = of("pt", 0, EPOCH, 1, b"b");
        assert_eq!(lease, other_lease, "one lease for all identities");
        assert_ne!(value, other_value);
        for other in [
            of("pt", 1, EPOCH, 1, b"a"),
            of("pt", 0, Epoch([4; 16]), 1, b"a"),
            of("pt", 0, EPOCH, 2, b"a"),
        ] {
            assert_ne!(tag(&other[0]), tag(&lease));
        }
        assert_ne!(of("other", 0, EPOCH, 1, b"a")[0], lease);
    }

    #[test]
    fn what_is_the_fleets_stays_in_one_slot() {
        let names = Names::default();
        assert_eq!(names.stream(), Names::new("phantom_token").unwrap().stream());
        assert_eq!(names.epoch(), b"{phantom_token:1}:e");
        assert_eq!(names.stream(), b"{phantom_token:1}:s");
        assert_eq!(names.peers(), b"{phantom_token:1}:p");
    }

    #[test]
    fn a_prefix_says_nothing_to_the_store() {
        for fit in ["a", "phantom_token", "shop:prod-1.eu", &"x".repeat(MAX_PREFIX)] {
            assert!(Names::new(fit).is_some(), "{fit}");
        }
        for unfit in ["", "a b", "a{b", "a}", "a*", "ä", "a\n", "?", &"x".repeat(MAX_PREFIX + 1)] {
            assert!(Names::new(unfit).is_none(), "{unfit}");
        }
    }

    #[test]
    fn parts_of_an_identity_do_not_run_into_each_other() {
        let of = |parts: &[&'static [u8]]| Identity::of(parts.iter().copied());
        assert_ne!(of(&[b"ab", b"c"]), of(&[b"a", b"bc"]));
        assert_ne!(of(&[b"abc"]), of(&[b"abc", b""]));
        assert_ne!(of(&[]), of(&[b""]));
    }
}
