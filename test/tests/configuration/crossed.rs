//! Every directive and every member of a block, each with the mistakes that people make: all are named
//! with the directive, its line and what to write.
//!
//! The directives are those of the module, their forms and contexts those of the documentation: a new one
//! is tried without being told of here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use phantom_token_test::Gateway;
use phantom_token_test::keys::PemKey;
use phantom_token_test::nginx::{Builder, directives};
use phantom_token_test::tls::Identity;

/// One of the words by which a message says what to do.
const REMEDIES: [&str; 7] =
    ["write", "keep", "leave", "must", "missing before it?", "choose", "derive"];

/// What NGINX says itself, which no module can word.
const OF_NGINX: &str = "directive is not allowed here";

/// A directive, where it may stand and how it is written.
#[derive(Clone, Debug)]
struct Directive {
    name: String,
    /// As documentation has it: `TIME | off`.
    form: String,
    place: Place,
    contexts: BTreeSet<&'static str>,
    takes_variables: bool,
    may_repeat: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Flat,
    Provider,
    Store,
}

const CONTEXTS: [&str; 5] = ["http", "server", "location", "if", "limit_except"];

/// An argument that will do for each word of a form. The first that a form holds counts.
const ARGUMENTS: [(&str, &str); 26] = [
    ("zone=NAME:SIZE", "zone=other:1m"),
    ("$variable NAME", "$roles roles"),
    ("FILE [alg", "client.key"),
    ("NAME VALUE", "X-A b"),
    ("NAME[=FROM]", "sub"),
    ("PROVIDER", "known"),
    ("phantom_token_mint_key FILE", "client.key"),
    ("phantom_token_key_file FILE", "fleet.key"),
    ("phantom_token_ssl_certificate_key FILE", "client.key"),
    ("phantom_token_client_secret_file PATH", "a.secret"),
    ("password_file FILE", "a.secret"),
    ("sentinel", "known"),
    ("FILE", "client.pem"),
    ("phantom_token_use NAME", "known"),
    ("phantom_token_thread_pool NAME", "default"),
    ("phantom_token_introspection_accept", "application/jwt"),
    ("phantom_token_require", "$request_method"),
    ("phantom_token_bypass", "$internal"),
    ("phantom_token_cache_bypass", "$internal"),
    ("phantom_token_step_up", "max_age=5m"),
    ("server URL", "redis://127.0.0.1:9"),
    ("URL", "http://127.0.0.1:9/.well-known/x"),
    ("TIME", "5m"),
    ("NUMBER", "5"),
    ("NAME", "off"),
    ("STRING", "access_token"),
];

impl Directive {
    /// Arguments that will do; empty where it needs none.
    fn good(&self) -> String {
        let line = format!("{} {}", self.flat_name(), self.form);
        if self.form.starts_with('[') || self.form.is_empty() {
            return String::new();
        }
        for (word, argument) in ARGUMENTS {
            if line.contains(word) {
                return argument.to_owned();
            }
        }
        self.form.split(' ').next().expect("a word").to_owned()
    }

    /// As it is written outside of a provider.
    fn flat_name(&self) -> String {
        match self.place {
            Place::Provider => format!("phantom_token_{}", self.name),
            Place::Flat | Place::Store => self.name.clone(),
        }
    }

    fn is_block(&self) -> bool {
        self.form.ends_with('}')
    }

    fn is_list(&self) -> bool {
        self.form.contains("...") || self.name == "phantom_token_use"
    }

    /// It with these arguments.
    fn line(&self, arguments: &str) -> String {
        let blank = if arguments.is_empty() { "" } else { " " };
        let end = if self.is_block() { " {\n}" } else { ";" };
        format!("{}{blank}{arguments}{end}", self.name)
    }

    /// A configuration with these lines where it may stand.
    fn configuration(&self, lines: &str) -> Builder {
        let builder = files(Gateway::builder())
            .http("map $remote_addr $internal { default \"\"; 10.0.0.1 1; }");
        match self.place {
            Place::Provider => builder.http(&format!("phantom_token_provider a {{\n{lines}\n}}")),
            Place::Store => builder.http(&format!("phantom_token_store {{\n{lines}\n}}")),
            Place::Flat if self.contexts.contains("location") => builder.location("/", lines),
            Place::Flat => builder.http(lines),
        }
    }
}

fn files(builder: Builder) -> Builder {
    static FILES: OnceLock<[String; 2]> = OnceLock::new();
    let [key, certificate] = FILES.get_or_init(|| {
        let tls = Identity::self_signed(&["client"]);
        [PemKey::p256().private, tls.certificate]
    });
    builder
        .file("client.key", key.as_str())
        .file("client.pem", certificate.as_str())
        .file("fleet.key", [7; 32])
        .file("a.secret", "s3cret\n")
}

fn documentation() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/directives.md");
    std::fs::read_to_string(path).expect("docs/directives.md").replace('…', "...")
}

/// All directives, and all members of blocks.
fn all() -> Vec<Directive> {
    let text = documentation();
    let (intro, _) = text.split_once("\nTimes and sizes").expect("what may be repeated");
    let mut flat = BTreeMap::new();
    for section in text.split("\n### ").filter(|section| section.starts_with("phantom_token")) {
        let name = section.lines().next().expect("a name").to_owned();
        let part = |from: &str| {
            let (_, rest) = section.split_once(from).expect(from);
            rest.lines().next().expect("a line").to_owned()
        };
        let syntax = part("**Syntax:** ");
        let form = syntax.split('`').nth(1).expect("a form").trim_end_matches(';');
        let form = form.strip_prefix(&*name).expect("its name").trim_start().to_owned();
        let contexts = part("**Context:** ");
        let stands = |context: &&str| contexts.contains(&format!("`{context}`"));
        flat.insert(
            name.clone(),
            Directive {
                form,
                place: Place::Flat,
                contexts: CONTEXTS.into_iter().filter(stands).collect(),
                takes_variables: section.contains("ariable"),
                may_repeat: intro.contains(&format!("`{name}`")) || name.ends_with("_claim_set"),
                name,
            },
        );
    }
    let mut all: Vec<_> = flat.values().cloned().collect();
    for name in members("phantom_token_provider a") {
        let mut member = flat.get(&format!("phantom_token_{name}")).cloned().unwrap_or_else(|| {
            let form = match &*name {
                "client_key" => "FILE [alg=ALG] [kid=STRING]",
                "issuer" => "STRING ...",
                "clock_skew" => "TIME",
                _ => panic!("the form of {name} is not known: give it a section"),
            };
            new_member(&name, form)
        });
        (member.name, member.place) = (name, Place::Provider);
        all.push(member);
    }
    let (_, rest) = text.split_once("### phantom_token_store\n").expect("its section");
    let (table, _) = rest.split_once("| `include FILE`").expect("its members");
    for name in members("phantom_token_store") {
        let row = table.lines().find_map(|row| {
            let (form, _) = row.strip_prefix(&format!("| `{name} "))?.split_once('`')?;
            Some(
                form.replace("=N]", "=NUMBER]")
                    .replace("N", "NUMBER")
                    .replace("NUMBERUMBER", "NUMBER"),
            )
        });
        let row =
            row.map(|form| form.replace("NUMBERAME", "NAME").replace("STRINUMBERG", "STRING"));
        let mut member = match (row, flat.get(&format!("phantom_token_{name}"))) {
            (Some(form), _) => new_member(&name, &form),
            (None, Some(outside)) => outside.clone(),
            // Reserved.
            (None, None) => continue,
        };
        (member.name, member.place) = (name, Place::Store);
        all.push(member);
    }
    all
}

fn new_member(name: &str, form: &str) -> Directive {
    Directive {
        name: name.to_owned(),
        form: form.to_owned(),
        place: Place::Store,
        contexts: BTreeSet::new(),
        takes_variables: false,
        may_repeat: false,
    }
}

/// The members of a block, as `nginx -t` says them.
fn members(block: &str) -> Vec<String> {
    let check = Gateway::builder().http(&format!("{block} {{\nnonsense;\n}}")).check();
    let (_, names) = check.messages.split_once(": there are ").expect("its members");
    let (names, _) = names.split_once(" and include").expect("the last");
    names.split(", ").map(str::to_owned).collect()
}

/// A mistake, and what is said of it.
struct Row {
    what: &'static str,
    directive: Directive,
    configuration: Builder,
    /// The line that is named is the first that holds this.
    at: String,
    words: Vec<String>,
    /// It may pass: what is written so is a value.
    may_pass: bool,
}

fn rows_of(directive: &Directive) -> Vec<Row> {
    let Directive { name, form, place, .. } = directive;
    let good = directive.good();
    let mut rows = Vec::new();
    let mut push = |what, lines: String, at: &str, words: &[&str], may_pass| {
        rows.push(Row {
            what,
            directive: directive.clone(),
            configuration: directive.configuration(&lines),
            at: at.to_owned(),
            words: words.iter().map(|&word| word.to_owned()).collect(),
            may_pass,
        });
    };
    let blank = if form.is_empty() { "" } else { " " };
    let end = if directive.is_block() { "" } else { ";" };
    let write = format!("write \"{name}{blank}{form}{end}\"");
    if !good.is_empty() && !form.starts_with('{') {
        let line = directive.line("");
        push("no argument", line.clone(), line.lines().next().unwrap(), &[&write], false);
    }
    if !directive.is_list() {
        let line = directive.line(&format!("{good} one two three four five"));
        // Parameters that stand in any order have names.
        let words: &[&str] = if form.contains("[max_fails") { &["\"one\""] } else { &[&write] };
        push("too many", line.clone(), line.lines().next().unwrap(), words, false);
    }
    if directive.is_block() {
        return rows;
    }
    if !form.is_empty() {
        let takes_empty = directive.takes_variables || form.starts_with("STRING");
        for (what, argument, may_pass) in [
            ("empty", "\"\"", takes_empty),
            ("a variable", "$host", directive.takes_variables || form.starts_with("STRING")),
            ("quotes of a word processor", "\u{201c}x\u{201d}", false),
        ] {
            let line = directive.line(argument);
            push(what, line.clone(), &line, &[], may_pass);
        }
        for word in ["TIME", "NUMBER", "SIZE"] {
            if form.contains(word) {
                let replaced = good.replace("5m", "5x").replace("1m", "1x");
                let wrong = if word == "NUMBER" { "5m".to_owned() } else { replaced };
                let line = directive.line(&wrong);
                if !good.contains("://") {
                    push(
                        "a wrong unit",
                        line.clone(),
                        &line,
                        &[&format!("\"{}\"", wrong.rsplit(['=', ':']).next().expect("a value"))],
                        false,
                    );
                }
            }
        }
    }
    // What is swallowed is a directive of NGINX's own, of the module's, and one whose name is any word.
    let swallowed: &[&str] = match place {
        Place::Flat => {
            &["proxy_pass http://127.0.0.1:9;", "phantom_token_realm api;", "allow all;"]
        }
        Place::Provider => &["client_secret s3cret;"],
        Place::Store => &["lock_timeout 1s;"],
    };
    for next in swallowed {
        let word = next.split(' ').next().unwrap();
        // Lists take words for values.
        let may_pass = directive.is_list() && !word.contains('_');
        let lines =
            format!("{name}{}{good}\n{next} # next", if good.is_empty() { "" } else { " " });
        let words = [&*format!("\"{word}\""), "missing before it?"];
        push("a missing end", lines, "# next", if may_pass { &[] } else { &words }, may_pass);
    }
    if !directive.may_repeat {
        let line = directive.line(&good);
        let lines = format!("{line}\n{line} # again");
        push("twice", lines, "# again", &["keep one"], false);
    }
    if *place == Place::Flat {
        for context in CONTEXTS.iter().filter(|context| !directive.contexts.contains(**context)) {
            let line = directive.line(&good);
            let builder = files(Gateway::builder());
            let builder = match *context {
                "http" => builder.http(&line),
                "server" => builder.server(&line),
                "location" => builder.location("/", &line),
                "if" => builder.location("/", &format!("if ($arg_x) {{\n{line}\n}}")),
                _ => builder.location("/", &format!("limit_except GET {{\n{line}\n}}")),
            };
            rows.push(Row {
                what: "a wrong context",
                directive: directive.clone(),
                configuration: builder,
                at: line,
                words: vec![OF_NGINX.to_owned()],
                may_pass: false,
            });
        }
    }
    rows
}

/// What is wrong with what is said of a mistake; `None`: nothing.
fn judge(row: &Row) -> Option<String> {
    let check = row.configuration.check();
    let Row { what, directive, at, words, may_pass, .. } = row;
    let name = format!("\"{}\"", directive.name);
    let such =
        |line: &&str| (line.contains("[emerg]") || line.contains("[warn]")) && line.contains(&name);
    let said: Vec<_> = check.messages.lines().filter(such).collect();
    if *may_pass && said.is_empty() {
        return None;
    }
    let place = format!("nginx.conf:{}", check.line_of(at));
    let is_right = |line: &str| {
        let of_nginx = line.contains(OF_NGINX);
        line.ends_with(&place)
            && words.iter().all(|word| line.contains(&**word))
            && (of_nginx || REMEDIES.iter().any(|remedy| line.contains(remedy)))
            && !line.contains("s3cret")
    };
    match said.into_iter().any(is_right) {
        true => None,
        false => Some(format!(
            "{what}: {name} at {place}, {words:?}\n  {}",
            if check.messages.is_empty() { "silence" } else { &check.messages }
        )),
    }
}

#[test]
fn each_mistake_is_named_with_its_directive_its_line_and_what_to_write() {
    let all = all();
    let rows: Vec<_> = all.iter().flat_map(rows_of).collect();
    assert!(all.len() > directives().len() && rows.len() > 8 * all.len(), "{} rows", rows.len());
    let next = AtomicUsize::new(0);
    let lane = || {
        let mut wrong = Vec::new();
        while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
            wrong.extend(judge(row));
        }
        wrong
    };
    let wrong: Vec<_> = thread::scope(|scope| {
        let lanes: Vec<_> = (0..4).map(|_| scope.spawn(lane)).collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("a lane")).collect()
    });
    println!("{} mistakes with {} directives and members", rows.len(), all.len());
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), rows.len(), wrong.join("\n"));
}
