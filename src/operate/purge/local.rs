//! A purge in this instance.

use phantom_token_engine::http::form::purge::Purge;

use crate::conf::MainConf;
use crate::flight::desk;
use crate::nginx::log::notice;
use crate::nginx::request::Request;

/// Forgets, and says so in the log. Whether every zone could be reached.
///
/// The generation of tokens rises before a zone is walked, so that no call under way stores its answer
/// after, and once more when it was, so that no worker keeps near what it copied in between. Of whom
/// tokens name, only the stripes rise: nothing is walked.
pub(super) fn forget(r: Request, purge: &Purge) -> bool {
    let main = MainConf::of(r);
    let Some(state) = main.cache.state.as_ref().and_then(|zone| zone.view()) else {
        return false;
    };
    let Some((keys, Some(purges))) =
        desk::with(|desk| (desk.worker.known_keys.clone(), desk.worker.purges))
    else {
        return false;
    };
    let mut done = true;
    match purge {
        Purge::All => {
            purges.purge_all();
            state.purge_all();
            for zone in &main.cache.zones {
                done &= zone.locked(|locked| locked.clear()).is_some();
            }
            state.purge_all();
        }
        Purge::Token(token) => {
            for hash in keys.iter().map(|key| key.token(token)) {
                purges.purge_token(&hash);
                state.purge_token(&hash);
                for zone in &main.cache.zones {
                    done &= zone.locked(|locked| locked.purge(&hash)).is_some();
                }
                state.purge_token(&hash);
            }
        }
        Purge::Subject(subject, name) => {
            for key in keys.iter() {
                purges.purge_subject(*subject, subject.hash(key, name));
            }
        }
    }
    state.announce_answer();
    if done {
        match purge {
            Purge::All => notice!(r, "all cached tokens are purged"),
            Purge::Token(token) => {
                notice!(r, "the cached token {} is purged", keys[0].token(token))
            }
            Purge::Subject(subject, name) => {
                let hash = subject.hash(&keys[0], name).get() >> 32;
                notice!(r, "the cached tokens of {} {hash:08x} are purged", subject.word());
            }
        }
    }
    done
}
