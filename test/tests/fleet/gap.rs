//! After a gap what a gateway keeps is asked for anew, and not thrown away: each token at a moment of its
//! own, few at a time, while its answer serves.

use std::cell::Cell;
use std::time::{Duration, Instant};

use phantom_token_test::Mint;
use phantom_token_test::authorization_server::Token;
use phantom_token_test::fleet::{Fleet, assert_passes, outcome, pass};
use phantom_token_test::nginx::Gateway;
use phantom_token_test::process::wait_until;

const TOKENS: usize = 60;

/// Calls queued or running in a worker.
const MAX_PENDING: usize = 8;

const SECOND: Duration = Duration::from_secs(1);

/// Time passes when the test says so.
fn fleet() -> (Fleet, Gateway, Vec<Token>) {
    let fleet = Fleet::builder()
        .each(|gateway| {
            gateway.count_calls().http(&format!("phantom_token_max_pending {MAX_PENDING};"))
        })
        .start_none();
    let gateway = fleet.launch();
    gateway.wait_for_metrics("in sync", |metrics| metrics.get("store_in_sync") == 1.0);
    let tokens: Vec<Token> =
        (0..TOKENS).map(|_| fleet.server.mint(Mint::new().expires_in(86_400))).collect();
    for token in &tokens {
        wait_until("the token to be kept", || pass(&gateway, token) == "HIT");
    }
    (fleet, gateway, tokens)
}

/// What has passed since a gap. What kept answers do is over ten seconds later, in which a busy machine's own
/// time counts.
struct Gap<'a> {
    gateway: &'a Gateway,
    noticed: Instant,
    passed: Cell<Duration>,
}

impl Gap<'_> {
    /// Empties the store, and waits until that was noticed.
    fn make<'a>(fleet: &Fleet, gateway: &'a Gateway) -> Gap<'a> {
        let before = gateway.metrics().sum("store_gaps_total", "reason");
        fleet.store.ask(&["FLUSHALL"]);
        gateway.wait_for_metrics("a gap", |metrics| {
            metrics.sum("store_gaps_total", "reason") > before
                && metrics.get("store_in_sync") == 1.0
        });
        Gap { gateway, noticed: Instant::now(), passed: Cell::default() }
    }

    /// Lets time pass until so much has since the gap.
    fn wait(&self, time: Duration) {
        let is = self.noticed.elapsed() + self.passed.get();
        let rest = time.saturating_sub(is);
        self.gateway.pass_time(rest);
        self.passed.set(self.passed.get() + rest);
    }

    /// `None` once the end is near: what was seen proves nothing.
    fn in_time(&self) -> Option<()> {
        (self.noticed.elapsed() + self.passed.get() < SECOND * 19 / 2).then_some(())
    }
}

/// Tries something until this machine is fast enough for it.
fn try_in_time(mut attempt: impl FnMut(Fleet, Gateway, Vec<Token>) -> Option<()>) {
    let was_in_time = (0..5).any(|_| {
        let (fleet, gateway, tokens) = fleet();
        attempt(fleet, gateway, tokens).is_some()
    });
    assert!(was_in_time, "this machine needs ten seconds for what takes one");
}

/// Presents all of them once. How many get in.
fn serving(gateway: &Gateway, tokens: &[Token]) -> usize {
    let mut client = gateway.client();
    tokens.iter().filter(|token| client.get_as("/shown", &token.token).status == 204).count()
}

/// All are presented once. How many of them did not have to wait.
fn hits(gateway: &Gateway, tokens: &[Token]) -> usize {
    let mut client = gateway.client();
    let hit = |token: &&Token| {
        let response = client.get_as("/shown", &token.token);
        assert_passes(&response, token);
        outcome(&response) == "HIT"
    };
    tokens.iter().filter(hit).count()
}

fn pending(gateway: &Gateway) -> f64 {
    gateway.metrics().get("introspections_pending")
}

/// How many were asked for anew, and what the server said of them was this.
fn renewed(gateway: &Gateway, result: &str) -> usize {
    gateway.metrics().get(&format!("refreshes_total{{result=\"{result}\"}}")) as usize
}

/// Presents the tokens until none is asked for anew any more whose moment has come, but for those that find too
/// many calls under way: they are left for later.
fn settle(gateway: &Gateway, tokens: &[Token]) {
    let asked = || renewed(gateway, "active") + renewed(gateway, "inactive");
    wait_until("no call", || {
        let before = asked();
        serving(gateway, tokens);
        pending(gateway) == 0.0 && asked() == before
    });
}

#[test]
fn each_is_asked_for_once_while_it_serves() {
    try_in_time(|fleet, gateway, tokens| {
        let before = fleet.server.introspections();
        let gap = Gap::make(&fleet, &gateway);
        let mut asked = Vec::new();
        for nth in 1..10 {
            gap.wait(nth * SECOND * 9 / 10);
            let served = hits(&gateway, &tokens);
            settle(&gateway, &tokens);
            gap.in_time()?;
            assert_eq!(served, TOKENS);
            asked.push(fleet.server.introspections() - before);
        }
        println!("asked for after 1, 2, … 9 times 0.9 s, of {TOKENS}: {asked:?}");
        assert!(asked[3] > 0 && asked[3] < TOKENS as u64, "spread: {asked:?}");
        while renewed(&gateway, "active") < TOKENS {
            // Those that were left for later.
            hits(&gateway, &tokens);
            gap.in_time()?;
        }
        gap.wait(11 * SECOND);
        assert_eq!(hits(&gateway, &tokens), TOKENS, "none was thrown away");
        assert_eq!(fleet.server.introspections() - before, TOKENS as u64, "each once");
        assert_eq!(renewed(&gateway, "active"), TOKENS);
        Some(())
    });
}

#[test]
fn half_of_max_pending_is_used_at_a_time_and_what_is_not_renewed_goes() {
    try_in_time(|fleet, gateway, tokens| {
        let before = fleet.server.introspections();
        let hold = fleet.server.hold();
        let gap = Gap::make(&fleet, &gateway);
        let mut client = gateway.client();
        for nth in 1..10 {
            gap.wait(nth * SECOND * 9 / 10);
            for token in &tokens {
                // Who comes after the end would wait for what is held back.
                gap.in_time()?;
                let response = client.get_as("/shown", &token.token);
                assert_passes(&response, token);
                assert_eq!(outcome(&response), "HIT", "they serve meanwhile");
            }
        }
        let half = MAX_PENDING as u64 / 2;
        fleet.server.wait_for_introspections(before + half);
        assert_eq!(pending(&gateway), half as f64);
        // The time of all others is over.
        tokens.iter().for_each(|token| fleet.server.revoke(&token.token));
        gap.wait(11 * SECOND);
        drop(hold);
        wait_until("no call", || pending(&gateway) == 0.0);
        assert_eq!(fleet.server.introspections(), before + half);
        for token in &tokens {
            let response = gateway.get_as("/shown", &token.token);
            assert_eq!(response.status, 401, "{response:?}");
        }
        Some(())
    });
}

#[test]
fn a_token_that_was_revoked_meanwhile_goes_at_its_moment() {
    try_in_time(|fleet, gateway, tokens| {
        tokens.iter().for_each(|token| fleet.server.revoke(&token.token));
        let gap = Gap::make(&fleet, &gateway);
        let mut left = Vec::new();
        for nth in 1..10 {
            gap.wait(nth * SECOND * 9 / 10);
            settle(&gateway, &tokens);
            left.push(serving(&gateway, &tokens));
            gap.in_time()?;
        }
        println!("still served after 1, 2, … 9 times 0.9 s, of {TOKENS}: {left:?}");
        assert!(left.is_sorted_by(|one, next| one >= next), "{left:?}");
        // Who found too many calls under way was left for later.
        wait_until("the end of all", || serving(&gateway, &tokens) == 0);
        gap.in_time()?;
        assert_eq!(renewed(&gateway, "inactive"), TOKENS);
        Some(())
    });
}
