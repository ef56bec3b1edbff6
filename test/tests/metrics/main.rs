//! `phantom_token_status`, and the variables that say the same of one request: what is counted, why,
//! and the forms it is shown in; and who looks at it.

mod calls;
mod monitoring;
mod requests;
mod shown;
mod status_page;

use phantom_token_test::nginx::Builder;
use phantom_token_test::{AuthorizationServer, Rig};

/// Where a gateway shows its numbers, and what does.
const SHOWN: (&str, &str) = ("/metrics", "phantom_token_status;");

/// Says of a request what became of it.
const SAY: &str = "add_header X-Outcome \"$phantom_token_status $phantom_token_reason\" always;";

/// A gateway that shows its numbers, and whose endpoint never rests.
fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    rig_with("max_fails=0", change)
}

/// As [`rig`], with these parameters of the endpoint.
fn rig_with(parameters: &str, change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, server| {
        let endpoint = format!("{} {parameters}", server.introspection_url());
        change(builder.endpoint(&endpoint).location(SHOWN.0, SHOWN.1))
    })
}

/// What the response to `target` with this token says of itself.
fn outcome(rig: &Rig, target: &str, token: &str) -> String {
    let response = rig.gateway.get_as(target, token);
    response.header("X-Outcome").unwrap_or_default().trim().to_owned()
}
