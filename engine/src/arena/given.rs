//! Answers to give to the arena, each unlike all others.

use super::model::Id;
use super::{Entry, Kind};
use crate::answer::facts::Facts;
use crate::answer::nature::{Binding, Nature, TokenKind};
use crate::lifetime::Life;

/// Every answer the arena was given, by its serial number, which stands in its times.
pub(super) struct Given {
    pub(super) id: Id,
    pub(super) kind: Kind,
    pub(super) len: usize,
}

/// One of the twelve there are.
pub(super) fn nature(serial: u64) -> Nature {
    let kinds = [TokenKind::Unnamed, TokenKind::Named, TokenKind::Other];
    let binding = Binding { dpop: serial & 1 != 0, other: serial & 2 != 0 };
    Nature { kind: kinds[(serial / 4 % 3) as usize], binding }
}

/// The active entry of a given answer.
pub(super) fn active(life: Life, serial: u64, jwt: &[u8]) -> Entry<'_> {
    let facts = Facts { life, nature: nature(serial), jwt, scope: b"a b", claims: b"{}" };
    Entry { kind: Kind::Active, facts }
}

impl Given {
    /// A JWT that is no other answer's.
    pub(super) fn jwt(&self, serial: u64) -> Vec<u8> {
        let (token, identity) = self.id;
        let text = format!("{token}/{identity}/{serial};").into_bytes();
        let mut jwt = text.repeat(self.len.div_ceil(text.len()));
        jwt.truncate(self.len);
        jwt
    }
}
