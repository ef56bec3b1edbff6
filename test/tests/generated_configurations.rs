//! Any arguments of any directives, as far as a generator goes: `nginx -t` takes them or says what
//! is wrong and on which line, and never ends in another way.
//!
//! `GENERATED_CONFIGURATIONS` says how many, `GENERATED_FROM` which is the first: each follows from
//! its number alone.

use std::thread;

use phantom_token_test::Gateway;
use phantom_token_test::nginx::{Check, directives};
use phantom_token_test::random::{Random, setting};

/// What belongs somewhere, and what belongs nowhere.
const VALUES: [&str; 102] = [
    "",
    " ",
    "\t",
    "\u{1}",
    "\u{7f}",
    "\u{e9}",
    "\u{2028}",
    "\n",
    "\r\n",
    "\"",
    "\\",
    "'",
    ";",
    "{",
    "}",
    "#",
    "$",
    "${",
    "$$",
    "$arg_x",
    "${http_x}",
    "$request_method",
    "$phantom_token_status",
    "$phantom_token_claim_sub",
    "$1",
    "token=$arg_token",
    "token=$",
    "token=",
    "on",
    "off",
    "jwt",
    "mint",
    "none",
    "basic",
    "basic_raw",
    "post",
    "reject",
    "pass",
    "preflight",
    "cap",
    "strict",
    "ignore",
    "b64token",
    "vschar",
    "any",
    "access",
    "declared",
    "preaccess",
    "match=any",
    "error=401",
    "max_age=5m",
    "has=admin",
    "$roles",
    "sub=username",
    "local",
    "json",
    "html",
    "prometheus",
    "default",
    "0",
    "1",
    "-1",
    "10s",
    "5m",
    "1500ms",
    "0s",
    "1y 2w",
    "10m",
    "512k",
    "99999999999999999999",
    "18446744073709551615",
    "9223372036854775807s",
    "zone=phantom:1m",
    "zone=phantom:",
    "zone=:1m",
    "zone=phantom:1k",
    "zone=off:1m",
    "phantom",
    "http://127.0.0.1:9/introspect",
    "https://[::1]/?a=b",
    "http://user@127.0.0.1/",
    "unix:/tmp/x",
    "unix:/tmp/x:2",
    "redis://127.0.0.1:9/2",
    "rediss://[::1]",
    "valkey://user:word@127.0.0.1/",
    "redis://127.0.0.1/x",
    "fleet.key",
    "eu:prod.1",
    "https://",
    "max_fails=3",
    "max_fails=x",
    "fail_timeout=5s",
    "fail_timeout=0",
    "backup",
    "connect=127.0.0.1:9",
    "connect=x",
    "X-Tenant",
    "Content-Length",
    "nokey",
    "missing.pem",
    "/",
];

/// An argument, quoted so that NGINX reads it as one: a value, two joined, or a long one.
fn argument(random: &mut Random) -> String {
    let mut value = random.of(&VALUES).to_owned();
    match random.below(12) {
        0 | 1 => value += random.of(&VALUES),
        // NGINX reads no argument over its buffer of 4096 bytes.
        2 => value = value.repeat(1 + random.below(200)).chars().take(900).collect(),
        _ => {}
    }
    let escaped = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{escaped}\"")
}

/// What stands in the block of a fleet's store, and what does not.
const MEMBERS: [&str; 19] = [
    "server",
    "user",
    "password_file",
    "ssl_verify",
    "ssl_trusted_certificate",
    "ssl_certificate",
    "ssl_certificate_key",
    "ssl_name",
    "timeout",
    "lock_timeout",
    "connections",
    "prefix",
    "sentinel",
    "cluster",
    "purge_replicas",
    "include",
    "cache_store",
    "phantom_token_timeout",
    "phantom_token_client_id",
];

/// A store's block, which has what it needs more often than not.
fn store(random: &mut Random) -> String {
    let mut block = String::from("phantom_token_store {\n");
    if random.below(4) > 0 {
        block += "server redis://127.0.0.1:9;\n";
    }
    for _ in 0..random.below(3) {
        block += &line(random, &MEMBERS);
    }
    block += "}\n";
    if random.below(4) > 0 {
        block += "phantom_token_key_file fleet.key;\n";
    }
    block
}

fn directive(random: &mut Random) -> String {
    line(random, directives())
}

fn line<T: AsRef<str> + Clone>(random: &mut Random, names: &[T]) -> String {
    let mut line = random.of(names).as_ref().to_owned();
    // Mostly as many as most take.
    for _ in 0..random.of(&[0, 1, 1, 1, 1, 1, 2, 2, 3, 4]) {
        line.push(' ');
        line += &argument(random);
    }
    line + ";\n"
}

fn some_directives(random: &mut Random, most: usize) -> String {
    (0..random.below(most + 1)).map(|_| directive(random)).collect()
}

fn check(number: u64) -> Check {
    let mut random = Random::new(number);
    let mut location = String::new();
    // Enough to go on with, more often than not: what stands together is looked at too.
    if random.below(4) > 0 {
        location += "phantom_token on;\n\
             phantom_token_introspection_endpoint http://127.0.0.1:9/introspect;\n\
             phantom_token_client_id me;\nphantom_token_client_secret s3cret;\n";
    }
    location += &some_directives(&mut random, 3);
    location += "return 200;\n";
    let mut builder = Gateway::builder().file("fleet.key", [7; 32]);
    if random.below(3) == 0 {
        builder = builder.http(&some_directives(&mut random, 2));
    }
    if random.below(3) == 0 {
        builder = builder.http(&store(&mut random));
    }
    builder.location("/", &location).check()
}

/// What NGINX itself says at the end of a configuration, without a line.
const WITHOUT_LINE: [&str; 2] = ["unknown \"", "zero size shared memory zone"];

fn judge(number: u64, check: &Check) {
    let context = || format!("configuration {number}:\n{}\n{}", check.config, check.messages);
    assert!(!check.messages.contains("panic"), "{}", context());
    assert!(!check.messages.contains("s3cret"), "{}", context());
    if check.ok {
        assert!(!check.messages.contains("[emerg]"), "{}", context());
        return;
    }
    assert_eq!(check.code, Some(1), "{}", context());
    // Without one, it ended in some other way.
    let Some(at) = check.messages.find("[emerg]") else { panic!("{}", context()) };
    // Warnings in front of it name places too.
    let refusal = &check.messages[at..];
    // A message may hold a line end, where a value does.
    let line = refusal
        .split("nginx.conf:")
        .nth(1)
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok());
    let named = line.is_some_and(|line| line <= check.config.split('\n').count());
    let excused = WITHOUT_LINE.iter().any(|words| refusal.contains(words));
    assert!(named || excused, "{}", context());
}

#[test]
fn any_arguments_are_taken_or_refused_with_their_line() {
    let count = setting("GENERATED_CONFIGURATIONS", 120);
    let first = setting("GENERATED_FROM", 0);
    let lanes = 2;
    let good: u64 = thread::scope(|scope| {
        let run = |lane| {
            let numbers = (first + lane..first + count).step_by(lanes);
            let checks = numbers.map(|number| {
                let check = check(number);
                judge(number, &check);
                u64::from(check.ok)
            });
            checks.sum::<u64>()
        };
        let lanes: Vec<_> = (0..lanes as u64).map(|lane| scope.spawn(move || run(lane))).collect();
        lanes.into_iter().map(|lane| lane.join().expect("a lane")).sum()
    });
    // Neither all nor none, or next to nothing is tried.
    println!("{good} of {count} configurations are good");
    assert!(good > count / 50 && good < count, "{good} of {count} are good");
}
