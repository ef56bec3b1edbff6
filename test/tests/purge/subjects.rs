//! A purge of a user, a client, a session or one `jti`: every token whose answer names it is asked about
//! anew, in every worker, and no other.

use phantom_token_test::authorization_server::Token;
use phantom_token_test::nginx::Builder;
use phantom_token_test::process::wait_until;
use phantom_token_test::{Client, Mint, Response, Rig, Script, jwt};
use serde_json::json;

fn rig(change: impl FnOnce(Builder) -> Builder) -> Rig {
    let shown = "phantom_token on;\nadd_header Outcome $phantom_token_status;\n\
        add_header Worker $pid;\ntry_files /none =204;";
    Rig::start(|builder| {
        change(
            builder
                .location("/shown", shown)
                .location("/purge", "client_body_buffer_size 128k;\nphantom_token_purge;"),
        )
    })
}

/// How the module came to let a token in.
#[track_caller]
fn outcome(response: &Response) -> &str {
    assert_eq!(response.status, 204, "{response:?}");
    response.header("outcome").expect("an outcome")
}

#[track_caller]
fn assert_outcome(rig: &Rig, token: &Token, expected: &str) {
    assert_eq!(outcome(&rig.gateway.get_as("/shown", &token.token)), expected);
}

fn post(rig: &Rig, form: &str) -> Response {
    let mut client = rig.gateway.client();
    client.send_request("POST", "/purge", &[], form.as_bytes());
    client.read()
}

#[track_caller]
fn purge(rig: &Rig, form: &str) {
    let response = post(rig, form);
    assert_eq!((response.status, response.text().as_str()), (204, ""), "{form}");
}

/// Tokens of one user, client and session; of another each; and of nobody that is named.
struct Tokens {
    named: [Token; 2],
    other: Token,
    nobody: Token,
}

impl Tokens {
    fn mint(rig: &Rig) -> Self {
        let of = |n: &str, jti: &str| {
            let mint = Mint::new().client(&format!("app-{n}")).claim("sub", format!("user-{n}"));
            rig.server.mint(mint.claim("sid", format!("session-{n}")).claim("jti", jti))
        };
        let named = [of("1", "jti-1"), of("1", "jti-1")];
        let nobody = rig.server.issue();
        rig.server.script(&nobody.token, Script::jwt(&jwt::unsigned(&json!({}))));
        Self { named, other: of("2", "jti-2"), nobody }
    }

    fn all(&self) -> impl Iterator<Item = &Token> {
        self.named.iter().chain([&self.other, &self.nobody])
    }
}

#[test]
fn each_forgets_all_that_name_it_and_nothing_else() {
    // Named by the JWT, and by a JSON answer.
    for directives in
        ["", "phantom_token_forward none;\nphantom_token_introspection_accept application/json;"]
    {
        let rig = rig(|builder| builder.http(directives));
        let tokens = Tokens::mint(&rig);
        for form in ["sub=user-1", "client_id=app-1", "sid=session-1", "jti=jti-1"] {
            purge(&rig, "all=1");
            for expected in ["MISS", "HIT"] {
                tokens.all().for_each(|token| assert_outcome(&rig, token, expected));
            }
            purge(&rig, form);
            for expected in ["MISS", "HIT"] {
                for token in &tokens.named {
                    assert_outcome(&rig, token, expected);
                }
                assert_outcome(&rig, &tokens.other, "HIT");
                assert_outcome(&rig, &tokens.nobody, "HIT");
            }
            // The same text elsewhere, and a name that nothing has.
            let name = form.split_once('=').expect("a field").1;
            for field in ["sub", "client_id", "sid", "jti"] {
                if !form.starts_with(field) {
                    purge(&rig, &format!("{field}={name}"));
                }
                purge(&rig, &format!("{field}=nobody-{name}"));
            }
            tokens.all().for_each(|token| assert_outcome(&rig, token, "HIT"));
        }
    }
}

#[test]
fn an_issuer_beside_it_changes_nothing() {
    let rig = rig(|builder| builder);
    let tokens = Tokens::mint(&rig);
    for form in ["iss=https%3A%2F%2Fother.example&sub=user-1", "sub=user-1&iss="] {
        tokens.all().for_each(|token| drop(rig.gateway.get_as("/shown", &token.token)));
        purge(&rig, form);
        assert_outcome(&rig, &tokens.named[0], "MISS");
        assert_outcome(&rig, &tokens.other, "HIT");
    }
    assert_eq!(post(&rig, "iss=x").status, 400);
}

#[test]
fn a_name_is_compared_as_text() {
    let rig = rig(|builder| builder);
    // As the answer has it, and as a form has.
    for (name, form) in [
        (json!("auth0|5f7c8ec7"), "sub=auth0%7C5f7c8ec7"),
        (json!("CN=Jürgen Doe, O=\"x\""), "sub=CN%3DJ%C3%BCrgen+Doe%2C+O%3D%22x%22"),
        (json!(4711), "sub=4711"),
        (json!("a+b@example.com"), "sub=a%2Bb%40example.com"),
    ] {
        let token = rig.server.mint(Mint::new().claim("sub", name));
        assert_outcome(&rig, &token, "MISS");
        assert_outcome(&rig, &token, "HIT");
        purge(&rig, form);
        assert_outcome(&rig, &token, "MISS");
    }
    // What people send by mistake forgets nothing, and says so.
    for form in ["sub=alice%0A", "sub=", "sub=a&sid=b", "sub=%FF", "sub=a b"] {
        assert_eq!(post(&rig, form).status, 400, "{form}");
    }
}

/// A connection to each worker.
fn clients(rig: &Rig) -> Vec<Client> {
    let mut clients: Vec<(u32, Client)> = Vec::new();
    let workers = rig.gateway.workers();
    let any = rig.server.issue();
    wait_until("a connection to each worker", || {
        let mut client = rig.gateway.client();
        let response = client.get_as("/shown", &any.token);
        let worker = response.header("worker").and_then(|pid| pid.parse().ok()).expect("a pid");
        if clients.iter().all(|(known, _)| *known != worker) {
            clients.push((worker, client));
        }
        clients.len() == workers.len()
    });
    clients.into_iter().map(|(_, client)| client).collect()
}

#[test]
fn every_worker_sees_it_at_its_next_request() {
    let rig = rig(|builder| builder.workers(4).listen("reuseport"));
    let mut clients = clients(&rig);
    let token = rig.server.mint(Mint::new().claim("sub", "user-1"));
    for _ in 0..2 {
        for client in &mut clients {
            assert_eq!(client.get_as("/shown", &token.token).status, 204);
        }
    }
    assert_eq!(rig.server.introspections_of(&token.token), 1);
    rig.server.revoke(&token.token);
    purge(&rig, "sub=user-1");
    for client in &mut clients {
        assert_eq!(client.get_as("/shown", &token.token).status, 401);
    }
}

#[test]
fn one_notice_tells_of_it_and_not_of_whom() {
    let rig = rig(|builder| builder);
    for (field, name) in [("sub", "user-1"), ("client_id", "app-1"), ("sid", "s-1"), ("jti", "j-1")]
    {
        rig.gateway.secret(name);
        purge(&rig, &format!("{field}={name}"));
        let begin = format!("phantom token: the cached tokens of {field} ");
        let line = rig.gateway.wait_for_log(&["[notice]", &begin, " are purged"]);
        let hash = line.split(&begin).nth(1).and_then(|rest| rest.split(' ').next());
        let hash = hash.expect("a hash");
        assert!(hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()), "{line}");
        assert!(!line.contains(name), "{line}");
    }
    let log = rig.gateway.error_log();
    assert_eq!(log.lines().filter(|line| line.contains("purged")).count(), 4, "{log}");
}

#[test]
fn it_outlives_a_reload() {
    let mut rig = rig(|builder| builder);
    let token = rig.server.mint(Mint::new().claim("sub", "user-1"));
    assert_outcome(&rig, &token, "MISS");
    assert_outcome(&rig, &token, "HIT");
    purge(&rig, "sub=user-1");
    rig.gateway.reload_with(|builder| builder);
    assert_outcome(&rig, &token, "MISS");
    assert_outcome(&rig, &token, "HIT");
}
