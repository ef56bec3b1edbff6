//! Heads of requests that are too large, too many or no heads at all.

use phantom_token_test::http2::{END_HEADERS, END_STREAM, Http2, frame, get, header_section, kind};
use phantom_token_test::process::{assert_grown_less, own_memory};
use phantom_token_test::{Response, Rig};

use crate::support::*;

/// A head with these lines after the first two.
fn head(lines: &str) -> Vec<u8> {
    format!("GET /shown HTTP/1.1\r\nHost: x\r\n{lines}\r\n").into_bytes()
}

/// What may be answered; `None` is a connection that is closed without a word.
type Statuses = &'static [Option<u16>];

#[test]
fn heads_that_are_bombs_reach_nobody() {
    let rig = rig(|builder| {
        builder.log_level("error").http("large_client_header_buffers 4 64k;\naccess_log off;")
    });
    let token = cached_token(&rig);
    let before = rig.server.introspections();
    let worker = rig.gateway.workers()[0];
    let mut bombs: Vec<(&str, Vec<u8>, Statuses)> = Vec::new();
    let refused: Statuses = &[Some(400), Some(414), None];
    let long = "x".repeat(1 << 20);
    let bearer = format!("Authorization: {}\r\n", token.bearer());
    let mut add = |name, bytes, statuses| bombs.push((name, bytes, statuses));
    add("a long field", head(&format!("X: {long}\r\n{bearer}")), refused);
    add("a long name", head(&format!("{long}: y\r\n{bearer}")), refused);
    add("many fields", head(&format!("{}{bearer}", "X: y\r\n".repeat(100_000))), refused);
    add("long fields", head(&format!("X: {}\r\n", "y".repeat(30_000)).repeat(50)), refused);
    add("a long target", format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n").into(), refused);
    add("a long method", format!("{long} / HTTP/1.1\r\n\r\n").into(), refused);
    add("a long token", head(&format!("Authorization: Bearer {long}\r\n")), refused);
    let too_long = "x".repeat(32_769);
    add("too long a token", head(&format!("Authorization: Bearer {too_long}\r\n")), &[Some(401)]);
    let blanks = " ".repeat(60_000);
    add("blanks", head(&format!("Authorization: Bearer{blanks}a b\r\n")), &[Some(401)]);
    let pieces = "a.".repeat(30_000);
    add("many pieces", head(&format!("Authorization: Bearer {pieces}\r\n")), &[Some(401)]);
    let twice = head(&bearer.repeat(2));
    add("two tokens", twice, refused);
    add("many tokens", head(&bearer.repeat(2_000)), refused);
    let upper = bearer.replace("Authorization", "AUTHORIZATION");
    add("two tokens in two cases", head(&format!("{bearer}{upper}")), refused);
    add("NUL", head(&format!("X: a\0b\r\n{bearer}")), refused);
    add("NUL in the token", head("Authorization: Bearer a\0b\r\n"), refused);
    add("CR in the token", head("Authorization: Bearer a\rb\r\n"), refused);
    // A field that is folded, or whose name ends in a blank, is no Authorization.
    let folded = bearer.replace("Bearer ", "Bearer\r\n ");
    add("folded", head(&folded), &[Some(400), Some(401), None]);
    let spaced = bearer.replace(":", " :");
    add("a blank before the colon", head(&spaced), &[Some(400), Some(401), None]);
    let underscore = bearer.replace("Authorization", "Authoriz_ation");
    add("another name", head(&underscore), &[Some(401)]);
    add("no colon", head("Authorization Bearer x\r\n"), &[Some(400), Some(401), None]);
    add("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00".repeat(1_000), refused);
    add("only lines", b"\r\n".repeat(500_000), &[Some(400), None]);
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\nAuthorization: Bearer x\r\n";
    add("two lengths", [head(both), b"0\r\n\r\n".to_vec()].concat(), refused);
    for (name, bytes, statuses) in &bombs {
        let status = status_of(rig.gateway.port(), bytes).expect("an answer, or the end");
        assert!(statuses.contains(&status), "{name}: {status:?}");
        hit(&rig, &token);
    }
    println!("{} bombs: none let in, none asked for", bombs.len());
    assert_eq!(rig.server.introspections(), before);
    assert_eq!(rig.api.count(), 0);
    assert_eq!(rig.gateway.workers(), [worker], "the same worker");
}

/// Sends frames on a connection of their own, and reads what comes back until it ends; the answers.
fn send_frames(rig: &Rig, frames: impl Iterator<Item = Vec<u8>>) -> Vec<u16> {
    let mut connection = Http2::connect(rig.gateway.http2_port()).expect("connects");
    for bytes in frames {
        // The gateway may have closed the connection: it has answered, or has had enough.
        if connection.send(&bytes).is_err() {
            break;
        }
    }
    // A last request that is in order: where the connection still serves, it is answered.
    let _ = connection.send(&get(999_999, "/none", &[]));
    let mut statuses = Vec::new();
    while let Ok(Some(frame)) = connection.read() {
        if frame.kind == kind::HEADERS && frame.stream != 999_999 {
            statuses.extend(frame.status());
        }
        if frame.kind == kind::GOAWAY || frame.stream == 999_999 {
            break;
        }
    }
    statuses
}

#[test]
fn http_2_bombs_reach_nobody() {
    let rig = rig(|builder| builder.http2().log_level("crit").http("access_log off;"));
    let token = cached_token(&rig);
    let before = rig.server.introspections();
    let (worker, bearer) = (rig.gateway.workers()[0], token.bearer());
    let memory = own_memory(worker);
    let good = header_section("/shown", &[("authorization", &bearer)]);
    // No field of its own is too large, only all of them.
    let long = "x".repeat(4_000);

    // A header section that never ends (CVE-2024-24549 and its kin).
    let begin = frame(kind::HEADERS, END_STREAM, 1, &good);
    // Only the fields: a second `:path` is refused for itself.
    let more = header_section("/", &[("x", &long)])[header_section("/", &[]).len()..].to_vec();
    let endless =
        std::iter::once(begin).chain((0..2_000).map(|_| frame(kind::CONTINUATION, 0, 1, &more)));
    assert_eq!(let_in(&send_frames(&rig, endless)), 0, "never let in");
    // Empty continuations.
    let begin = frame(kind::HEADERS, END_STREAM, 1, &good);
    let empty =
        std::iter::once(begin).chain((0..20_000).map(|_| frame(kind::CONTINUATION, 0, 1, &[])));
    assert_eq!(let_in(&send_frames(&rig, empty)), 0);
    // A name put into the table once and called for again and again.
    let mut section = good.clone();
    section.extend([0x40, 1, b'y', 0x7f, 0xa1, 0x1e]); // a value of 4,000 bytes
    section.extend("z".repeat(4_000).bytes());
    section.extend(std::iter::repeat_n(0xbe, 8_000));
    let bomb = frame(kind::HEADERS, END_STREAM | END_HEADERS, 1, &section);
    assert_eq!(let_in(&send_frames(&rig, std::iter::once(bomb))), 0);
    // Settings, pings and priorities without end.
    for (kind, payload) in [(kind::SETTINGS, &[][..]), (kind::PING, &[0; 8]), (2, &[0, 0, 0, 1, 9])]
    {
        let stream = if kind == 2 { 3 } else { 0 };
        let flood = (0..20_000).map(|_| frame(kind, 0, stream, payload));
        assert_eq!(let_in(&send_frames(&rig, flood)), 0);
    }
    // A second token in the same head.
    let two = get(1, "/shown", &[("authorization", &bearer), ("authorization", &bearer)]);
    let statuses = send_frames(&rig, std::iter::once(two));
    assert!(!statuses.contains(&204), "{statuses:?}");

    for _ in 0..20 {
        hit(&rig, &token);
    }
    assert_eq!(rig.server.introspections(), before);
    assert_eq!(rig.gateway.workers(), [worker], "the same worker");
    let grown = own_memory(worker).saturating_sub(memory);
    println!("HTTP/2 bombs: none let in; the worker's memory grew by {grown} KiB");
    assert_grown_less(grown, 8 * 1024);
}

/// How many of these let a request in.
fn let_in(statuses: &[u16]) -> usize {
    statuses.iter().filter(|&&status| status < 300).count()
}

#[test]
fn every_byte_an_authorization_field_may_hold() {
    // What `/shown` shows could not be read.
    let plain = "phantom_token on;\ntry_files /none =204;";
    let rig =
        rig(|builder| builder.log_level("error").http("access_log off;").location("/plain", plain));
    let token = cached_token(&rig);
    let before = rig.server.introspections();
    let mut client = rig.gateway.client();
    for byte in 0..=255_u8 {
        if matches!(byte, b'\0' | b'\r' | b'\n') {
            continue; // those end the field, or the request
        }
        let mut bytes = request("/plain", &token.bearer()).into_bytes();
        bytes.truncate(bytes.len() - 4);
        bytes.extend([byte, b'\r', b'\n', b'\r', b'\n']);
        client.send(&bytes);
        let response: Response = client.read();
        // A blank or a tab at the end is no part of the token; a `=` makes it another one.
        match byte {
            b' ' | b'\t' => assert_eq!(response.status, 204),
            b'=' | b'-' | b'.' | b'_' | b'~' | b'+' | b'/' => assert_eq!(response.status, 401),
            _ if byte.is_ascii_alphanumeric() => assert_eq!(response.status, 401),
            _ => {
                assert!(matches!(response.status, 400 | 401), "{byte:#x}: {response:?}");
                if response.status == 400 {
                    client = rig.gateway.client();
                }
            }
        }
    }
    // Each letter, each digit and seven signs make another token, which is asked for once.
    assert_eq!(rig.server.introspections() - before, 26 + 26 + 10 + 7);
}
