use proptest::prelude::*;

use super::*;
use crate::http::form::Form;

fn token(text: &str) -> Result<Purge, PurgeError> {
    Ok(Purge::Token(Zeroizing::new(text.as_bytes().to_vec())))
}

fn named(subject: Subject, name: &str) -> Result<Purge, PurgeError> {
    Ok(Purge::Subject(subject, Zeroizing::new(name.as_bytes().to_vec())))
}

fn assert_read(cases: &[(&str, Result<Purge, PurgeError>)]) {
    for (body, expected) in cases {
        assert_eq!(&Purge::parse(body.as_bytes()), expected, "{body:?}");
    }
}

#[test]
fn one_thing_is_named() {
    assert_read(&[
        ("token=abc", token("abc")),
        ("token=a%2Bb%2f%3D", token("a+b/=")),
        ("token=ab==", token("ab==")),
        ("%74oken=abc", token("abc")),
        ("all=1", Ok(Purge::All)),
        ("sub=alice", named(Subject::Sub, "alice")),
        ("client_id=app", named(Subject::ClientId, "app")),
        ("sid=08a5019c", named(Subject::Sid, "08a5019c")),
        ("jti=4711", named(Subject::Jti, "4711")),
        // A name is any text: each byte counts.
        ("sub=auth0%7C5f", named(Subject::Sub, "auth0|5f")),
        ("sub=CN%3DJ%C3%BCrgen+Doe%2C+O%3D%22x%22", named(Subject::Sub, "CN=Jürgen Doe, O=\"x\"")),
        ("sub=+alice+", named(Subject::Sub, " alice ")),
        ("sub=bearer+x", named(Subject::Sub, "bearer x")),
        ("jti=eyJhbGciOiJIUzI1NiJ9.e30.AB", named(Subject::Jti, "eyJhbGciOiJIUzI1NiJ9.e30.AB")),
    ]);
    for (body, expected) in [
        ("", PurgeError::Nothing),
        ("token=abc&all=1", PurgeError::Several),
        ("token=&all=1", PurgeError::Several),
        ("sub=alice&sid=1", PurgeError::Several),
        ("all=1&client_id=app", PurgeError::Several),
        ("token=a&sub=b&iss=c", PurgeError::Several),
        ("token=a&token=a", PurgeError::Repeated),
        ("all=1&all=1", PurgeError::Repeated),
        ("sub=a&sub=b", PurgeError::Repeated),
        ("sub=a&iss=b&iss=b", PurgeError::Repeated),
        ("token=a&x=y", PurgeError::Unknown),
        ("Token=a", PurgeError::Unknown),
        ("azp=a", PurgeError::Unknown),
        ("sub+=a", PurgeError::Unknown),
        ("=a", PurgeError::Unknown),
    ] {
        assert_read(&[(body, Err(expected))]);
    }
}

#[test]
fn an_issuer_beside_it_is_not_looked_at() {
    for (body, expected) in [
        ("sub=alice&iss=https%3A%2F%2Flogin.example", named(Subject::Sub, "alice")),
        ("iss=%0A&sid=1", named(Subject::Sid, "1")),
        ("token=abc&iss=", token("abc")),
        ("iss=x&all=1", Ok(Purge::All)),
        ("iss=x", Err(PurgeError::Nothing)),
        ("iss=", Err(PurgeError::Nothing)),
        ("iss", Err(PurgeError::Malformed)),
        ("iss=%zz&all=1", Err(PurgeError::Malformed)),
    ] {
        assert_read(&[(body, expected)]);
    }
}

#[test]
fn what_cannot_be_meant_is_refused_with_a_remedy() {
    let longest = "a".repeat(MAX_TOKEN_LEN);
    assert_read(&[(&format!("token={longest}"), token(&longest))]);
    for (body, expected, remedy) in [
        ("token=", PurgeError::Empty, "send what"),
        ("sub=", PurgeError::Empty, "send what"),
        ("all=", PurgeError::All, "send all=1"),
        ("all=0", PurgeError::All, "send all=1"),
        ("all=true", PurgeError::All, "send all=1"),
        ("all=1%0A", PurgeError::All, "send all=1"),
        ("token=abc%0A", PurgeError::Control, "tr -d '[:cntrl:]'"),
        ("token=abc%0D%0A", PurgeError::Control, "tr -d"),
        ("token=%0A", PurgeError::Control, "tr -d"),
        ("token=Bearer+abc%0A", PurgeError::Control, "tr -d"),
        ("token=%00", PurgeError::Control, "tr -d"),
        ("sub=alice%0A", PurgeError::Control, "tr -d"),
        ("sub=a%7Fb", PurgeError::Control, "tr -d"),
        ("token=Bearer+abc", PurgeError::Scheme, "send what follows it"),
        ("token=bearer%20abc", PurgeError::Scheme, "send what follows it"),
        ("token=a+b", PurgeError::Blank, "%2B"),
        ("token=+abc", PurgeError::Blank, "%2B"),
        ("token=abc+", PurgeError::Blank, "%2B"),
        ("token=+", PurgeError::Blank, "%2B"),
        ("token=Bearer+", PurgeError::Scheme, "send what follows it"),
        ("token=a%2Cb", PurgeError::NoToken, "comma"),
        ("token=%22a%22", PurgeError::NoToken, "quotation mark"),
        ("token=%C3%A9", PurgeError::NoToken, "ASCII"),
        (&format!("token={longest}a"), PurgeError::NoToken, "32768 bytes"),
        ("token=eyJhbGciOiJIUzI1NiJ9.e30.AB", PurgeError::Respelt, "its sub"),
        ("token=eyJhbGciOiJIUzI1NiJ9.e30.AA==", PurgeError::Respelt, "its sub"),
        ("sub=%FF", PurgeError::NoText, "UTF-8"),
        ("token", PurgeError::Malformed, "--data-urlencode"),
        ("token=a&", PurgeError::Malformed, "--data-urlencode"),
        ("&token=a", PurgeError::Malformed, "--data-urlencode"),
        ("token=%", PurgeError::Malformed, "--data-urlencode"),
        ("token=%4", PurgeError::Malformed, "--data-urlencode"),
        ("token=%4g", PurgeError::Malformed, "--data-urlencode"),
        ("token=%+1", PurgeError::Malformed, "--data-urlencode"),
        ("token=a\n", PurgeError::Malformed, "--data-urlencode"),
        ("token=a b", PurgeError::Malformed, "--data-urlencode"),
        ("sub=Jürgen", PurgeError::Malformed, "--data-urlencode"),
        ("{\"token\":\"a\"}", PurgeError::Malformed, "--data-urlencode"),
    ] {
        assert_read(&[(body, Err(expected))]);
        let words = expected.to_string();
        assert!(words.contains(remedy), "{words}");
        // It stands in a JSON string as it is.
        assert!(words.chars().all(|c| (' '..='~').contains(&c) && !"\"\\".contains(c)), "{words}");
    }
    assert_read(&[("token=eyJhbGciOiJIUzI1NiJ9.e30.AA", token("eyJhbGciOiJIUzI1NiJ9.e30.AA"))]);
}

#[test]
fn debug_hides_token_and_name() {
    let purge = Purge::parse(b"token=secret").expect("a purge");
    assert_eq!(format!("{purge:?}"), "Token(6)");
    let purge = Purge::parse(b"sub=alice").expect("a purge");
    assert_eq!(format!("{purge:?}"), "Subject(Sub, 5)");
}

proptest! {
    #[test]
    fn any_body_is_read_without_a_panic(body: Vec<u8>) {
        let _ = Purge::parse(&body);
    }

    #[test]
    fn a_printed_token_reads_back(token in "[!#-+\\--~]{1,200}") {
        let body = Form::new().pair(b"token", token.as_bytes()).unwrap().finish();
        prop_assert_eq!(Purge::parse(&body), Ok(Purge::Token(Zeroizing::new(token.into_bytes()))));
    }

    #[test]
    fn a_printed_name_reads_back(name in "\\PC{1,60}", nth in 0..4usize) {
        let subject = Subject::ALL[nth];
        let body = Form::new().pair(subject.word().as_bytes(), name.as_bytes()).unwrap().finish();
        prop_assert_eq!(Purge::parse(&body), named(subject, &name));
    }
}
