//! What `nginx -t` says of a fleet's store: every mistake is named with its directive, file and line.

use std::io::ErrorKind;
use std::net::TcpListener;

use phantom_token_test::Gateway;
use phantom_token_test::nginx::{Builder, Check, assert_good};

const KEY: &str = "phantom_token_key_file fleet.key;";
const KEY_BYTES: &str = "a fleet's key of thirty-two bytes and more\n";
const SERVER: &str = "server redis://127.0.0.1:9;";
const BEGIN: &str = "phantom_token_store {";
const PASSWORD: &str = "s3cret word";
/// Where the authorization server is, and who asks.
const ON: &str = "phantom_token on;\nphantom_token_introspection_endpoint http://127.0.0.1:9/introspect;\n\
    phantom_token_client_auth none;\nphantom_token_token_type_hint access_token;";

/// A gateway with this in `http`, and a location that is on.
fn on(http: &str) -> Builder {
    Gateway::builder()
        .http(http)
        .file("fleet.key", KEY_BYTES)
        .file("password.secret", format!("{PASSWORD}\n"))
        .location("/", &format!("{ON}\nreturn 200;"))
}

/// A store with these members, its key before it.
fn store(members: &str) -> Builder {
    on(&format!("{KEY}\n{BEGIN}\n{members}\n}}"))
}

fn lines<'a>(check: &'a Check, level: &str) -> Vec<&'a str> {
    check.messages.lines().filter(|line| line.contains(level)).collect()
}

/// It is refused by one line with these words, which ends in the place where `at` stands.
#[track_caller]
fn assert_refused(builder: &Builder, words: &[&str], at: &str) {
    let check = builder.check();
    let line = check.emerg();
    for word in words {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
    let place = format!("nginx.conf:{}", check.line_of(at));
    assert!(line.ends_with(&place), "not at {at:?}: {line}");
    assert!(!line.contains(PASSWORD) && !line.contains("phantom_token_ssl"), "{line}");
}

/// It is taken with one warning, which has these words.
#[track_caller]
fn assert_warned(builder: &Builder, words: &[&str]) {
    let check = assert_good(builder);
    let [line] = lines(&check, "[warn]")[..] else { panic!("{}", check.messages) };
    for word in words {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
    assert!(!line.contains(PASSWORD), "{line}");
}

#[track_caller]
fn assert_silent(builder: &Builder) {
    let check = assert_good(builder);
    assert!(lines(&check, "[warn]").is_empty(), "{}", check.messages);
}

#[test]
fn a_whole_one_is_taken_without_a_word() {
    assert_silent(&store(SERVER));
    for url in [
        "redis://127.0.0.1",
        "redis://[::1]:7/2",
        "redis://localhost/",
        "valkey://127.0.0.1:6379/15",
        "rediss://valkey.example",
        "valkeys://10.0.0.7:6380/0 max_fails=1 fail_timeout=500ms",
        "unix:/run/valkey.sock",
        "unix:/run/valkey.sock:3 max_fails=0",
    ] {
        assert_silent(&store(&format!("server {url};")));
    }
    let all = "user gateway;\npassword_file password.secret;\nssl_verify on;\nssl_name valkey.example;\n\
        timeout 250ms;\nlock_timeout 0;\nconnections 4;\nprefix eu-1.prod:api_a;\ncluster off;\npurge_replicas 0;";
    assert_silent(&store(&format!("server rediss://10.0.0.7;\n{all}")));
    assert_silent(&store(&format!("{SERVER}\npassword_file password.secret;")));
    // The key may come behind it, and there may be several.
    let late = format!("{BEGIN}\n{SERVER}\n}}\nphantom_token_key_file new.key;\n{KEY}");
    assert_silent(&on(&late).file("new.key", [7; 32]));
    // A key alone makes hashes the same everywhere.
    assert_silent(&on(KEY));
}

#[test]
fn what_is_missing_is_named() {
    let words =
        ["\"server\" is missing in \"phantom_token_store\" of ", "write the URL of the store"];
    let check = store("").check();
    let [line] = lines(&check, "[emerg]")[..] else { panic!("{}", check.messages) };
    assert!(words.iter().all(|word| line.contains(word)), "{line}");
    assert!(line.contains(&format!("nginx.conf:{}: ", check.line_of(BEGIN))), "{line}");

    let check = on(&format!("{BEGIN}\n{SERVER}\n}}")).check();
    let [line] = lines(&check, "[emerg]")[..] else { panic!("{}", check.messages) };
    for word in [
        "\"phantom_token_key_file\" is missing in \"phantom_token_store\" of ",
        "openssl rand -base64 32",
    ] {
        assert!(line.contains(word), "no {word:?} in: {line}");
    }
    assert!(line.contains(&format!("nginx.conf:{}: ", check.line_of(BEGIN))), "{line}");
    // Where no location is on, too.
    let check = Gateway::builder().http(&format!("{BEGIN}\n{SERVER}\n}}")).check();
    assert!(!check.ok && check.messages.contains("phantom_token_key_file"), "{}", check.messages);

    let user = "user gateway;";
    let words = ["\"user\" has no password: write password_file beside it"];
    assert_refused(&store(&format!("{SERVER}\n{user}")), &words, user);
    let certificate =
        store("server rediss://a.example;\nssl_certificate cert.pem;").file("cert.pem", "");
    let check = certificate.check();
    let words = "\"ssl_certificate_key\" is missing beside \"ssl_certificate\" in \"phantom_token_store\" of";
    assert!(check.messages.contains(words), "{}", check.messages);
}

#[test]
fn a_url_that_is_none_is_told_apart() {
    for (url, words) in [
        ("valkey.example:6379", "must begin with \"redis://\""),
        ("http://valkey.example", "must begin with \"redis://\""),
        (
            "redis://gateway:secret@valkey.example",
            "must not hold a user name or password: write them as \"user\" and \"password_file\"",
        ),
        ("redis://:secret@valkey.example", "must not hold a user name or password"),
        ("redis://", "must be a host name"),
        ("redis://a:0", "port must be a number"),
        ("redis://a/x", "database must be a number"),
        ("redis://a/1/2", "database must be a number"),
        ("unix:/run/valkey.sock:x", "database must be a number"),
        ("unix:run/valkey.sock", "must be absolute"),
        ("redis://a?db=1", "must not hold parameters"),
        ("redis://$host", "takes no variables"),
        ("redis://a weight=1", "unknown parameter \"weight=1\": write max_fails= or fail_timeout="),
        ("redis://a max_fails=x", "invalid value \"x\""),
        ("redis://a fail_timeout=0", "write a time above 0"),
    ] {
        let server = format!("server {url};");
        assert_refused(&store(&server), &["\"server\" directive ", words], &server);
        let check = store(&server).check();
        assert!(!check.messages.contains("secret@"), "{}", check.messages);
    }
    let name = "ssl_name \"a b\";";
    assert_refused(
        &store(&format!("server rediss://a;\n{name}")),
        &["\"ssl_name\" must be a host name"],
        name,
    );
}

#[test]
fn what_is_to_come_is_not_there_yet() {
    for member in [
        "sentinel mymaster;",
        "sentinel_user a;",
        "sentinel_password_file password.secret;",
        "cluster on;",
        "purge_replicas 1;",
    ] {
        let words = ["directive is not supported yet: a store is one server; write it as server"];
        assert_refused(&store(&format!("{SERVER}\n{member}")), &words, member);
    }
    let second = "server redis://127.0.0.2:9;";
    let words =
        ["\"server\" directive names a second server, which is not supported yet: keep one"];
    assert_refused(&store(&format!("{SERVER}\n{second}")), &words, second);
}

#[test]
fn a_wrong_value_is_named_with_what_to_write() {
    for (member, words) in [
        ("timeout 0;", "write a time above 0"),
        ("timeout x;", "\"timeout\" directive has an invalid value \"x\""),
        ("timeout;", "invalid number of arguments in \"timeout\" directive"),
        ("lock_timeout -1;", "\"lock_timeout\" directive has an invalid value \"-1\""),
        ("connections 0;", "write a number from 1 to 1024"),
        ("connections 1025;", "write a number from 1 to 1024"),
        ("prefix \"\";", "letters, digits, _, -, . and :"),
        ("prefix \"{a}\";", "letters, digits"),
        ("prefix a*;", "letters, digits"),
        ("prefix \"a b\";", "letters, digits"),
        ("user \"\";", "\"user\" directive has an empty value"),
        ("user $a;", "takes no variables"),
        ("user \"a b\";", "as the store's ACL has it"),
        ("password_file nowhere;", "\"password_file\" directive names a file that cannot be read"),
        (
            "password_file empty.secret;",
            "\"password_file\" directive names a file whose secret is empty",
        ),
        ("cluster maybe;", "write on or off"),
        ("purge_replicas x;", "write a number"),
        ("ssl_verify maybe;", "write on or off"),
        ("ssl_trusted_certificate nowhere;", "cannot be read"),
    ] {
        let builder = store(&format!("{SERVER}\n{member}")).file("empty.secret", "\n");
        assert_refused(&builder, &[words], member);
    }
    let long = format!("prefix {};", "x".repeat(129));
    assert_refused(&store(&format!("{SERVER}\n{long}")), &["up to 128"], &long);
    for member in
        ["timeout 1s;", "prefix a;", "user a;", "password_file password.secret;", "connections 3;"]
    {
        let twice = format!("{SERVER}\n{member}\n{member} # again");
        assert_refused(&store(&twice), &["directive is duplicate"], &format!("{member} # again"));
    }
}

#[test]
fn what_has_no_place_in_the_block_is_told_where_to_go() {
    for (member, words) in [
        ("cache_store off;", "write phantom_token_cache_store outside"),
        (
            "phantom_token_cache_offline_valid 10s;",
            "write phantom_token_cache_offline_valid outside",
        ),
        ("key_file other.key;", "write phantom_token_key_file outside"),
        ("client_id a;", "write phantom_token_client_id outside"),
        ("phantom_token_timeout 1s;", "has a prefix, which goes in a block: write timeout"),
        ("phantom_token_server redis://a;", "write server"),
        ("max_fails 3;", "is unknown in phantom_token_store: there are server, sentinel,"),
        ("location / {", "unexpected \"{\""),
    ] {
        assert_refused(&store(&format!("{SERVER}\n{member}")), &[words], member);
    }
    let open = "server redis://127.0.0.1:9\npassword_file password.secret;";
    let check = store(open).check();
    let words = "\"password_file\": that is the name of a directive; is a \";\" missing before it?";
    assert!(check.messages.contains(words), "{}", check.messages);
    let check = Gateway::builder().server(&format!("{BEGIN}\n{SERVER}\n}}")).check();
    assert!(check.messages.contains("\"phantom_token_store\" directive is not allowed here"));
    let check = on("phantom_token_store redis://127.0.0.1:9;").check();
    assert!(check.messages.contains("has no opening \"{\""), "{}", check.messages);
    let again = "phantom_token_store { # again";
    let two = format!("{KEY}\n{BEGIN}\n{SERVER}\n}}\n{again}\n{SERVER}\n}}");
    assert_refused(&on(&two), &["stands a second time: a fleet has one store"], again);
}

#[test]
fn an_include_is_a_part_of_the_block() {
    let builder = store("include store.conf;");
    assert_silent(&builder.file("store.conf", format!("{SERVER}\ntimeout 50ms;\n")));
    let check =
        store("include store.conf;").file("store.conf", format!("{SERVER}\ntimeout x;\n")).check();
    let [line] = lines(&check, "[emerg]")[..] else { panic!("{}", check.messages) };
    assert!(line.contains("\"timeout\"") && line.ends_with("store.conf:2"), "{line}");
}

#[test]
fn keys_are_long_private_and_each_named_once() {
    let short = on(KEY).file("fleet.key", [7; 31]);
    assert_refused(
        &short,
        &[
            "\"phantom_token_key_file\" directive names a file under 32 bytes",
            "openssl rand -base64 32",
        ],
        KEY,
    );
    let other = "phantom_token_key_file other.key;";
    let twice = on(&format!("{KEY}\n{other}")).file("other.key", KEY_BYTES.trim_end());
    assert_refused(
        &twice,
        &[
            "names the key of \"",
            "fleet.key\" a second time with \"",
            "other.key\": name each key once",
        ],
        other,
    );
    let nowhere = "phantom_token_key_file nowhere.key;";
    assert_refused(&on(nowhere), &["names a file that cannot be read"], nowhere);
    assert_refused(&on("phantom_token_key_file \"\";"), &["has an empty value"], "_key_file");
    assert_refused(
        &on("phantom_token_key_file long.key;").file("long.key", [7; 4097]),
        &["over 4096 bytes"],
        "long.key",
    );
    let open = on("phantom_token_key_file open;").file("open", [7; 32]);
    assert_warned(&open, &["the key file \"", "open\" is readable by all: chmod o-r it"]);
    let check = Gateway::builder().server(KEY).check();
    assert!(check.messages.contains("directive is not allowed here"), "{}", check.messages);
}

#[test]
fn what_is_unsafe_is_said() {
    assert_warned(
        &store("server redis://valkey.example/2;"),
        &["the password and purges go to \"redis://valkey.example:6379\" unencrypted: use rediss"],
    );
    assert_warned(
        &store("server rediss://valkey.example;\nssl_verify off;"),
        &["\"ssl_verify off\": whoever answers for \"rediss://valkey.example:6379\" is believed"],
    );
    let open = store(&format!("{SERVER}\npassword_file open;")).file("open", PASSWORD);
    assert_warned(&open, &["the secret file \"", "open\" is readable by all: chmod o-r it"]);
    for member in ["ssl_verify off;", "ssl_trusted_certificate ca.pem;", "ssl_name a.example;"] {
        for server in [SERVER, "server unix:/run/valkey.sock;"] {
            let builder = store(&format!("{server}\n{member}")).file("ca.pem", "");
            let name = member.split(' ').next().expect("a name");
            let words =
                [&format!("\"{name}\" has no effect where nothing is encrypted: write rediss://")
                    [..]];
            assert_refused(&builder, &words, member);
        }
    }
}

#[test]
fn a_store_that_is_as_slow_as_what_it_spares_is_warned_of() {
    let timeout =
        |members: &str, http: &str| on(&format!("{KEY}\n{http}\n{BEGIN}\n{SERVER}\n{members}\n}}"));
    assert_warned(
        &timeout("timeout 3s;", ""),
        &[
            "\"timeout\" of \"phantom_token_store\" is not below half of a phantom_token_timeout of 6000ms",
        ],
    );
    assert_silent(&timeout("timeout 2999ms;", ""));
    let fast = "phantom_token_timeout 200ms;\nphantom_token_connect_timeout 100ms;";
    assert_warned(&timeout("", fast), &["phantom_token_timeout of 200ms", "leaves little"]);
    // A location that does not use it may be as fast as it likes.
    let apart = on(&format!("{KEY}\n{BEGIN}\n{SERVER}\n}}"));
    let other = format!("{ON}\n{fast}\nphantom_token_cache_store off;\nreturn 200;");
    assert_silent(&apart.location("/other", &other));
}

#[test]
fn what_uses_no_store_is_said() {
    let nothing =
        "\"phantom_token_store\" has no effect: no location that is on keeps answers in a zone";
    let none = Gateway::builder().file("fleet.key", KEY_BYTES);
    assert_warned(&none.http(&format!("{KEY}\n{BEGIN}\n{SERVER}\n}}")), &[nothing]);
    for off in ["phantom_token_cache off;", "phantom_token_cache_store off;"] {
        assert_warned(&on(&format!("{KEY}\n{BEGIN}\n{SERVER}\n}}\n{off}")), &[nothing]);
    }
    for directive in ["phantom_token_cache_store on;", "phantom_token_cache_offline_valid 10s;"] {
        let name = directive.split(' ').next().expect("a name");
        let words =
            [&format!("\"{name}\" has no effect")[..], "write a phantom_token_store block in http"];
        assert_warned(&on(directive), &words);
        assert_silent(&on(&format!("{directive}\n{KEY}\n{BEGIN}\n{SERVER}\n}}")));
    }
    assert_silent(&on(&format!(
        "phantom_token_cache_offline_valid off;\n{KEY}\n{BEGIN}\n{SERVER}\n}}"
    )));
    for (wrong, words) in [
        ("phantom_token_cache_store maybe;", "write on or off"),
        ("phantom_token_cache_offline_valid 0;", "write a time above 0"),
        ("phantom_token_cache_offline_valid x;", "write a time such as 300s"),
    ] {
        assert_refused(&on(wrong), &[words], wrong);
    }
}

#[test]
fn a_check_opens_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a listener");
    let url = format!("server redis://{};", listener.local_addr().expect("an address"));
    assert_silent(&store(&url));
    assert_eq!(listener.accept().expect_err("a connection").kind(), ErrorKind::WouldBlock);
}

#[test]
fn what_is_printed_holds_no_secret() {
    let builder = store(&format!("{SERVER}\nuser gateway;\npassword_file password.secret;"));
    let check = builder.check_and_print();
    assert!(check.ok && check.printed.contains(BEGIN), "{}", check.messages);
    for secret in [PASSWORD, KEY_BYTES.trim_end()] {
        for text in [&check.printed, &check.messages, &check.log] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
