//! What is said of the store that is heard: in fixed words, once a minute, by all workers together.

use phantom_token_engine::remedy;
use phantom_token_engine::shared::counters::StoreGap;
use phantom_token_engine::shared::state::Notice;
use phantom_token_engine::store::Node;
use phantom_token_engine::store::hear::Tiding;

use super::thread::Told;
use crate::nginx::log::{Cycle, crit, error, notice, warning};
use crate::worker::Worker;

pub(super) fn say(worker: &Worker, node: &Node, told: Told) {
    let label = node.label();
    let tiding = match told {
        Told::Tiding(tiding) => tiding,
        Told::Panicked(site) => {
            if worker.is_due(Notice::StoreUnheard, "panic") {
                crit!(Cycle, "caught a panic in the hearing of the store at {site}");
            }
            return;
        }
        Told::NoThread(failure) => {
            if worker.is_due(Notice::StoreUnheard, "thread") {
                error!(Cycle, "no thread hears the store: {failure}; see the limits on threads");
            }
            return;
        }
    };
    match tiding {
        Tiding::Failed(failed) => {
            // Another cause of the same kind has another remedy.
            if worker.is_due(Notice::StoreUnheard, &failed.to_string()) {
                error!(
                    Cycle,
                    "the store \"{label}\" cannot be heard: {failed}; answers are not shared and purges of other gateways not known meanwhile: {}",
                    remedy::of_store(failed, node.reach())
                );
            }
        }
        Tiding::NoRandom => {
            if worker.is_due(Notice::StoreUnheard, "random") {
                error!(
                    Cycle,
                    "the store \"{label}\" cannot be heard: the system gives no random bytes; where its calls are filtered (seccomp), allow getrandom"
                );
            }
        }
        Tiding::Back => {
            if worker.is_due(Notice::StoreHeard, "back") {
                notice!(Cycle, "the store \"{label}\" is heard again");
            }
        }
        Tiding::Another => {
            if worker.is_due(Notice::StoreHeard, "another") {
                notice!(
                    Cycle,
                    "another store, prefix, key or zone of purges than before: what is kept from before serves no more"
                );
            }
        }
        Tiding::Gap(gap) => {
            if worker.is_due(Notice::StoreGap, gap.word()) {
                warning!(
                    Cycle,
                    "purges may have been missed, since {}: what is kept from before is asked about anew",
                    why(gap)
                );
            }
        }
        Tiding::TooManyGaps => {
            if worker.is_due(Notice::StoreGap, "many") {
                error!(
                    Cycle,
                    "purges may have been missed more than 3 times in a minute: the store \"{label}\" is not used for a minute; see that nobody empties it, and that it evicts no key without a time to live (maxmemory-policy)"
                );
            }
        }
        Tiding::OtherKey => {
            if worker.is_due(Notice::StoreRemark, "key in force") {
                warning!(
                    Cycle,
                    "another gateway at the store \"{label}\" has another phantom_token_key_file in force: no answers are shared with it"
                );
            }
        }
        Tiding::Unreadable => {
            if worker.is_due(Notice::StoreRemark, "event") {
                warning!(
                    Cycle,
                    "the store \"{label}\" holds purges that do not open, and are not known here: see that all gateways have the same phantom_token_key_file, and that nobody else writes there"
                );
            }
        }
    }
}

fn why(gap: StoreGap) -> &'static str {
    match gap {
        StoreGap::Epoch => "the store was emptied or replaced",
        StoreGap::Trimmed => "the store has lost purges that were read",
        StoreGap::Unreadable => "what the store holds of purges cannot be understood",
        StoreGap::Missing => "the store lacks purges that it has acknowledged",
    }
}
