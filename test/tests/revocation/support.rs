//! The table's rows, and what measures them. Seconds pass when a test says so.

use std::path::Path;
use std::time::{Duration, Instant};

use phantom_token_test::authorization_server::Token;
use phantom_token_test::nginx::Builder;
use phantom_token_test::{AuthorizationServer, Gateway, Mint, Rig};

/// A row of the table.
pub(crate) struct Row {
    /// What its test is called: its configuration and what is done, as one word.
    pub(crate) test: String,
    /// For how many seconds the token works; `None` where no number can be given.
    pub(crate) seconds: Option<u64>,
}

/// All rows, in the table's order.
pub(crate) fn rows() -> Vec<Row> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/caching.md");
    let page = std::fs::read_to_string(page).expect("the page");
    let (_, section) =
        page.split_once("\n## How long can a revoked token work\n").expect("a section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let lines = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let rows: Vec<Row> = lines.map(row).collect();
    assert!(!rows.is_empty(), "the table has rows");
    rows
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [configuration, done, _, seconds] = cells[..] else { panic!("four columns: {line}") };
    let words = format!("{configuration} {done}").replace("phantom_token_", "").to_lowercase();
    let words = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let test = words.collect::<Vec<_>>().join("_");
    let number = || seconds.parse().unwrap_or_else(|_| panic!("a number of seconds: {line}"));
    let seconds = (seconds != "—").then(number);
    Row { test, seconds }
}

/// The seconds that the table gives to the test that asks, which has its row's name.
#[track_caller]
pub(crate) fn told() -> Option<u64> {
    let thread = std::thread::current();
    let test = thread.name().and_then(|name| name.rsplit("::").next()).expect("a test").to_owned();
    let row = rows().into_iter().find(|row| row.test == test);
    row.unwrap_or_else(|| panic!("the table has no row for {test}")).seconds
}

/// A location that lets in whom the module does.
pub(crate) fn checked(directives: &str) -> String {
    format!(
        "phantom_token on;\n{directives}\n\
         add_header Outcome $phantom_token_status always;\n\
         add_header Worker $pid always;\n\
         try_files /none =204;"
    )
}

/// A gateway with these directives in `http`, `/checked` and `/purge`, whose time passes when the
/// test says so.
pub(crate) fn rig(http: &str, change: impl FnOnce(Builder) -> Builder) -> Rig {
    Rig::with(AuthorizationServer::start(), |builder, server| {
        change(gateway(builder, server, http))
    })
}

pub(crate) fn gateway(builder: Builder, server: &AuthorizationServer, http: &str) -> Builder {
    builder
        .count_calls()
        // Alone it would rest, and tokens that are not kept would get 503.
        .endpoint(&format!("{} max_fails=0", server.introspection_url()))
        .http(http)
        .location("/checked", &checked(""))
        .location("/purge", "client_body_buffer_size 128k;\nphantom_token_purge;")
}

/// A token that is good for two hours, of the user `alice`, the client `app`, `session-1` and
/// `number-1`.
pub(crate) fn token(rig: &Rig) -> Token {
    rig.server.mint(mint())
}

pub(crate) fn mint() -> Mint {
    let mint = Mint::new().expires_in(7200).client("app");
    mint.claim("sub", "alice").claim("sid", "session-1").claim("jti", "number-1")
}

/// Whether a request with the token is let in.
pub(crate) fn is_let_in(gateway: &Gateway, token: &Token) -> bool {
    gateway.get_as("/checked", &token.token).status == 204
}

/// An answer that is kept from now on.
#[track_caller]
pub(crate) fn keep(gateway: &Gateway, token: &Token) -> Instant {
    let began = Instant::now();
    assert!(is_let_in(gateway, token), "it is good");
    began
}

/// Sends a purge, which succeeds.
#[track_caller]
pub(crate) fn purge(gateway: &Gateway, form: &str) {
    let mut client = gateway.client();
    client.send_request("POST", "/purge", &[], form.as_bytes());
    assert_eq!(client.read().status, 204, "{form}");
}

/// Asks each second, from the second after so many have passed, until the token is refused: for how
/// many seconds it was let in. Its answer came at `kept`.
pub(crate) fn let_in_for(gateway: &Gateway, token: &Token, kept: Instant, passed: u64) -> Works {
    let_in_for_settling(gateway, token, kept, passed, || ())
}

/// As [`let_in_for`], where something is to `settle` before each next second.
pub(crate) fn let_in_for_settling(
    gateway: &Gateway,
    token: &Token,
    kept: Instant,
    passed: u64,
    settle: impl Fn(),
) -> Works {
    const LONGEST: u64 = 3_600;
    let mut seconds = passed;
    while is_let_in(gateway, token) {
        settle();
        seconds += 1;
        assert!(seconds < LONGEST, "it works for ever");
        gateway.pass_time(Duration::from_secs(1));
    }
    Works { seconds, uncertain: kept.elapsed().as_secs() + 1 }
}

/// For how long a token was let in.
pub(crate) struct Works {
    /// As the gateway's clock was set.
    seconds: u64,
    /// What passed beside that, at most.
    uncertain: u64,
}

impl Works {
    /// It could have been so many seconds longer.
    pub(crate) fn or_longer(self, seconds: u64) -> Self {
        Self { uncertain: self.uncertain + seconds, ..self }
    }

    /// It is what the table says.
    #[track_caller]
    pub(crate) fn assert(&self) {
        let Self { seconds, uncertain } = *self;
        let told = told().expect("a number");
        assert!(seconds <= told && told <= seconds + uncertain, "{seconds} s, and not {told} s");
    }
}

/// It is refused, as the table says, from the next request on.
#[track_caller]
pub(crate) fn assert_refused_at_once(gateway: &Gateway, token: &Token) {
    assert_eq!(told(), Some(0));
    assert!(!is_let_in(gateway, token), "it still works");
}
