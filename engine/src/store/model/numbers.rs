//! What there is in the model, and what is counted.

use std::collections::BTreeMap;

/// Tokens there are, and users whose they are.
pub(super) const TOKENS: usize = 24;
pub(super) const USERS: usize = 8;

/// For how long gateways keep answers, in milliseconds.
pub(super) const VALID_MS: u64 = 4_000;

pub(super) const NAMES: [&[u8]; TOKENS] = [
    b"t00", b"t01", b"t02", b"t03", b"t04", b"t05", b"t06", b"t07", b"t08", b"t09", b"t10", b"t11",
    b"t12", b"t13", b"t14", b"t15", b"t16", b"t17", b"t18", b"t19", b"t20", b"t21", b"t22", b"t23",
];

pub(super) const SUBS: [&[u8]; USERS] = [b"s0", b"s1", b"s2", b"s3", b"s4", b"s5", b"s6", b"s7"];

/// What was served and what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Requests served from a gateway's own answers, from the store, by a call.
    pub(super) own: u64,
    pub(super) store: u64,
    pub(super) calls: u64,
    /// Requests that were not served: too many calls were in vain.
    pub(super) failed: u64,
    /// Purges that the store has acknowledged, and that it has not.
    pub(super) acknowledged: u64,
    pub(super) refused: u64,
    /// Gaps at all gateways.
    pub(super) gaps: u64,
    /// Accidents by their names.
    pub(super) accidents: BTreeMap<&'static str, u64>,
    /// Gateways that began.
    pub(super) gateways: u64,
    /// Answers older than a purge acknowledged more than a second before.
    pub(super) wrong: u64,
    /// The same, by gateways that were cut off.
    pub(super) cut_off: u64,
    /// The same, by gateways that renew their answers after a gap.
    pub(super) renewing: u64,
}

impl Numbers {
    pub(super) fn add(&mut self, other: &Numbers) {
        let Numbers { own, store, calls, failed, acknowledged, refused, .. } = other;
        self.own += own;
        self.store += store;
        self.calls += calls;
        self.failed += failed;
        self.acknowledged += acknowledged;
        self.refused += refused;
        self.gaps += other.gaps;
        self.gateways += other.gateways;
        self.wrong += other.wrong;
        self.cut_off += other.cut_off;
        self.renewing += other.renewing;
        for (name, count) in &other.accidents {
            *self.accidents.entry(name).or_default() += count;
        }
    }
}
