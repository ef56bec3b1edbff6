//! What gateways say of themselves: a sealed line every ten seconds, in a stream of its own. So it shows
//! where one has another key, or asks other servers than the rest.

use std::collections::HashMap;
use std::time::Duration;

use super::event::GatewayId;
use super::keys::FleetKeys;
use super::names::{Identity, Names};
use super::seal::{self, Bound, Form, Nonce};
use super::sync::StreamId;
use super::{Pipeline, Reply};
use crate::jose::primitives::sha256;
use crate::shared::counters::StorePeer;

/// A line is written so often.
pub const EVERY: Duration = Duration::from_secs(10);

/// Who has written none for so long is not there, in milliseconds.
const THERE_MS: u64 = 35_000;

/// About so many lines the stream has.
const KEPT: &[u8] = b"4096";

/// As many of them are read, the last first: three for each gateway are more than enough.
const READ: &[u8] = b"1000";

/// The longest version, in bytes.
const MAX_VERSION: usize = 64;

/// Who says it.
const GATEWAY: &[u8] = b"i";

/// What is said.
const LINE: &[u8] = b"l";

/// What a gateway says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Who says it.
    pub gateway: GatewayId,
    /// What it asks which servers ([`configuration`]).
    pub configuration: [u8; 32],
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// The module's version.
    pub version: String,
}

/// How many other gateways are there, by how they compare with this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Peers([u64; StorePeer::ALL.len()]);

impl Peers {
    /// How many of these there are.
    pub fn count(&self, peer: StorePeer) -> u64 {
        self.0[peer as usize]
    }
}

/// Digests the identities that locations ask as, in whatever order they come.
pub fn configuration(identities: impl IntoIterator<Item = Identity>) -> [u8; 32] {
    let mut all: Vec<_> = identities.into_iter().map(|identity| identity.0).collect();
    all.sort_unstable();
    all.dedup();
    sha256(&all.concat())
}

impl Line {
    /// Says it, and asks what others say; `None` where the system gives no random bytes.
    pub fn question(&self, keys: &FleetKeys, names: &Names) -> Option<Pipeline> {
        let id = hex(self.gateway);
        let bound = bound(names, id.as_bytes());
        let version = &self.version.as_bytes()[..self.version.len().min(MAX_VERSION)];
        let content = [&self.configuration[..], &self.at_ms.to_be_bytes(), version];
        let sealed = seal::seal(&keys.first().event, Nonce::random()?, bound, &content)?;
        let mut pipeline = Pipeline::new();
        let (id, stream) = (id.as_bytes(), names.peers());
        pipeline
            .command(&[b"XADD", stream, b"MAXLEN", b"~", KEPT, b"*", GATEWAY, id, LINE, &sealed]);
        pipeline.command(&[b"XREVRANGE", stream, b"+", b"-", b"COUNT", READ]);
        Some(pipeline)
    }

    /// Counts who else is there; `None` where the replies cannot be understood. Times are the store's
    /// own.
    pub fn answer(&self, keys: &FleetKeys, names: &Names, replies: &[Reply]) -> Option<Peers> {
        let [mine, lines] = replies else { return None };
        let (now_ms, _) = id(mine)?;
        let mut seen = HashMap::new();
        for line in lines.array()? {
            let [at, fields] = line.array()? else { return None };
            if id(at)?.0.saturating_add(THERE_MS) < now_ms {
                break;
            }
            let Some([of, gateway, is, sealed]) = fields.array() else { continue };
            if (of.bulk(), is.bulk()) != (Some(GATEWAY), Some(LINE)) {
                continue;
            }
            let (gateway, sealed) = (gateway.bulk()?, sealed.bulk()?);
            // The last one counts, which comes first.
            seen.entry(gateway).or_insert_with(|| self.compare(keys, names, gateway, sealed));
        }
        seen.remove(hex(self.gateway).as_bytes());
        let mut peers = Peers::default();
        for peer in seen.into_values() {
            peers.0[peer as usize] += 1;
        }
        Some(peers)
    }

    fn compare(&self, keys: &FleetKeys, names: &Names, gateway: &[u8], sealed: &[u8]) -> StorePeer {
        // Where keys are being changed: who has another in force shares no answers.
        let opened = seal::open(&keys.first().event, bound(names, gateway), sealed);
        match opened.as_ref().and_then(|opened| opened.content().first_chunk()) {
            Some(configuration) if *configuration == self.configuration => StorePeer::Same,
            Some(_) => StorePeer::OtherConfig,
            None => StorePeer::OtherKey,
        }
    }
}

/// A line is for the stream of one prefix, and of one gateway.
fn bound<'a>(names: &'a Names, gateway: &'a [u8]) -> Bound<'a> {
    Bound { form: Form::Peer, name: names.peers(), to: gateway }
}

fn hex(gateway: GatewayId) -> String {
    format!("{:016x}", u64::from_be_bytes(gateway.0))
}

fn id(reply: &Reply) -> Option<StreamId> {
    let (ms, sequence) = str::from_utf8(reply.bulk()?).ok()?.split_once('-')?;
    Some((ms.parse().ok()?, sequence.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::store::Nodes;
    use crate::store::memory::Memory;

    const NOW: u64 = 1_700_000_000_000;

    fn keys(files: &[[u8; 32]]) -> FleetKeys {
        FleetKeys::new(&files.iter().map(|file| &file[..]).collect::<Vec<_>>()).expect("keys")
    }

    fn line(gateway: u8, identities: &[&'static [u8]]) -> Line {
        let identities = identities.iter().map(|part| Identity::of([*part]));
        Line {
            gateway: GatewayId([gateway; 8]),
            configuration: configuration(identities),
            at_ms: NOW,
            version: "1.2.3".into(),
        }
    }

    fn says(memory: &Memory, line: &Line, keys: &FleetKeys, prefix: &str) -> [u64; 3] {
        let names = Names::new(prefix).expect("a prefix");
        let question = line.question(keys, &names).expect("random bytes");
        let replies = memory.ask(&question, Instant::now()).expect("replies");
        line.answer(keys, &names, &replies).expect("they are understood").0
    }

    #[test]
    fn gateways_see_how_others_compare() {
        let memory = Memory::default();
        memory.at(NOW);
        let (old, new) = (keys(&[[1; 32]]), keys(&[[2; 32], [1; 32]]));
        let says = |line: &Line, keys: &FleetKeys| says(&memory, line, keys, "pt");
        assert_eq!(says(&line(1, &[b"a", b"b"]), &old), [0, 0, 0]);
        assert_eq!(says(&line(2, &[b"b", b"a", b"b"]), &old), [1, 0, 0], "in any order");
        assert_eq!(says(&line(3, &[b"a"]), &old), [0, 2, 0]);
        assert_eq!(says(&line(4, &[b"a"]), &new), [0, 0, 3]);
        assert_eq!(says(&line(1, &[b"a", b"b"]), &old), [1, 1, 1]);
        // A gateway is configured anew: its last line counts.
        assert_eq!(says(&line(3, &[b"a", b"b"]), &old), [2, 0, 1]);
        // Time goes by, and those are gone that say nothing.
        memory.at(NOW + THERE_MS);
        assert_eq!(says(&line(1, &[b"a", b"b"]), &old), [2, 0, 1]);
        memory.at(NOW + THERE_MS + 1);
        assert_eq!(says(&line(2, &[b"a", b"b"]), &old), [1, 0, 0]);
    }

    #[test]
    fn a_line_is_its_gateway_s_and_its_prefix_s() {
        let memory = Memory::default();
        memory.at(NOW);
        let keys = keys(&[[1; 32]]);
        let names = Names::new("pt").expect("a prefix");
        says(&memory, &line(1, &[b"a"]), &keys, "pt");
        let read = |memory: &Memory| {
            let mut read = Pipeline::new();
            read.command(&[b"XREVRANGE", names.peers(), b"+", b"-", b"COUNT", b"1"]);
            let mut replies = memory.ask(&read, Instant::now()).expect("replies");
            let Some(Reply::Array(mut entries)) = replies.pop() else { panic!("no entries") };
            let Some(Reply::Array(mut entry)) = entries.pop() else { panic!("no entry") };
            let Some(Reply::Array(fields)) = entry.pop() else { panic!("no fields") };
            fields[3].bulk().expect("a line").to_vec()
        };
        let stolen = read(&memory);
        let mut forged = Pipeline::new();
        let words: [&[u8]; 10] = [
            b"XADD",
            names.peers(),
            b"MAXLEN",
            b"~",
            KEPT,
            b"*",
            GATEWAY,
            b"somebody",
            LINE,
            &stolen,
        ];
        forged.command(&words);
        forged.command(&[b"XADD", names.peers(), b"MAXLEN", b"~", KEPT, b"*", b"x", b"y"]);
        memory.ask(&forged, Instant::now()).expect("replies");
        assert_eq!(says(&memory, &line(2, &[b"a"]), &keys, "pt"), [1, 0, 1]);
        assert_eq!(says(&memory, &line(2, &[b"a"]), &keys, "other"), [0, 0, 0]);
    }

    #[test]
    fn what_cannot_be_understood_says_nothing() {
        let (keys, names) = (keys(&[[1; 32]]), Names::new("pt").expect("a prefix"));
        let mine = Reply::Bulk(b"5-0".to_vec());
        for replies in [
            vec![],
            vec![mine.clone()],
            vec![Reply::Nil, Reply::Array(vec![])],
            vec![mine.clone(), Reply::Nil],
            vec![mine.clone(), Reply::Array(vec![Reply::Nil])],
        ] {
            assert_eq!(line(1, &[]).answer(&keys, &names, &replies), None);
        }
        let nobody = line(1, &[]).answer(&keys, &names, &[mine, Reply::Array(vec![])]);
        assert_eq!(nobody, Some(Peers::default()));
    }
}
