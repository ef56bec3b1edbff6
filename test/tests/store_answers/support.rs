//! Gateways that share a store, and how each comes to its answers.

use std::time::Duration;

use phantom_token_test::fleet::Fleet;
use phantom_token_test::{AuthorizationServer, Response};

/// So many that share.
pub(crate) fn fleet(gateways: usize) -> Fleet {
    Fleet::start(gateways)
}

/// So many that share, and wait for each other's calls: these take a while, and the gateways know that.
pub(crate) fn slow_fleet(gateways: usize) -> Fleet {
    let server = AuthorizationServer::start();
    server.set_delay(SLOW);
    Fleet::builder().server(server).start(gateways)
}

/// How long a slow server takes. A gateway waits for another's call for twice as long.
const SLOW: Duration = Duration::from_secs(1);

/// `$phantom_token_store_status`.
pub(crate) fn store_status(response: &Response) -> &str {
    response.header("store").unwrap_or_default()
}

/// How often the store was asked about a token.
pub(crate) fn looks(fleet: &Fleet) -> u64 {
    let info = fleet.store.ask(&["INFO", "commandstats"]).text();
    let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_mget:calls="));
    line.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or(0)
}
