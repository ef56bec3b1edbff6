use proptest::prelude::*;

use super::*;

/// What becomes of bytes that come all at once; `None`: there is more to come.
fn decode(bytes: &[u8], expected: usize) -> Result<Option<Vec<Reply>>, Fault> {
    let mut decoder = Decoder::default();
    let used = decoder.take(bytes, expected)?;
    assert!(used <= bytes.len());
    let whole = decoder.len() == expected;
    assert!(!whole || used == bytes.len());
    Ok(whole.then(|| decoder.replies()))
}

/// The same where they come in pieces.
fn decode_in_pieces(
    bytes: &[u8],
    expected: usize,
    size: usize,
) -> Result<Option<Vec<Reply>>, Fault> {
    let mut decoder = Decoder::default();
    let mut unread = Vec::new();
    for piece in bytes.chunks(size) {
        unread.extend_from_slice(piece);
        let used = decoder.take(&unread, expected)?;
        unread.drain(..used);
    }
    Ok((decoder.len() == expected).then(|| decoder.replies()))
}

fn bulk(text: &str) -> Reply {
    Reply::Bulk(text.as_bytes().to_vec())
}

#[test]
fn commands_are_arrays_of_strings() {
    let mut pipeline = Pipeline::new();
    assert!(pipeline.is_empty());
    pipeline.command(&[b"SET", b"k", b"a\r\nb"]).command(&[b"GET", b""]);
    assert_eq!(pipeline.len(), 2);
    let sent = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4\r\na\r\nb\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n";
    assert_eq!(pipeline.as_bytes(), sent);
    assert!(!format!("{pipeline:?}").contains("SET"));
}

#[test]
fn replies_are_read_however_they_come() {
    let sent = b"+OK\r\n:-42\r\n$-1\r\n*-1\r\n$0\r\n\r\n$4\r\na\r\nb\r\n-OOM no\r\n\
                 *2\r\n*0\r\n*3\r\n$1\r\nx\r\n:7\r\n-ERR no\r\n";
    let expected = vec![
        Reply::Simple(b"OK".into()),
        Reply::Integer(-42),
        Reply::Nil,
        Reply::Nil,
        bulk(""),
        bulk("a\r\nb"),
        Reply::Error(ServerError::Oom),
        Reply::Array(vec![
            Reply::Array(Vec::new()),
            Reply::Array(vec![bulk("x"), Reply::Integer(7), Reply::Error(ServerError::Other)]),
        ]),
    ];
    assert_eq!(decode(sent, 8), Ok(Some(expected.clone())));
    for size in 1..sent.len() {
        assert_eq!(decode_in_pieces(sent, 8, size), Ok(Some(expected.clone())), "{size}");
        assert_eq!(decode(&sent[..size], 8), Ok(None), "{size}");
    }
    assert_eq!(decode(sent, 7), Err(Fault::Unasked));
}

#[test]
fn what_is_announced_is_judged_before_it_comes() {
    let line_of = |length: usize| format!("+{}\r\n", "x".repeat(length - 1)).into_bytes();
    let nested = |depth: usize| format!("{}:1\r\n", "*1\r\n".repeat(depth)).into_bytes();
    for large in [
        b"$262145\r\n".to_vec(),
        b"$419430400\r\n".to_vec(),
        b"$99999999999999999999999999\r\n".to_vec(),
        b"*4097\r\n".to_vec(),
        b"*2147483647\r\n".to_vec(),
        nested(MAX_DEPTH + 1),
        line_of(MAX_LINE + 1),
        vec![b'+'; MAX_LINE + 1],
        // Many arrays, each within its limit.
        [&b"*4096\r\n"[..], &b"*3\r\n:1\r\n:1\r\n:1\r\n".repeat(4_096)].concat(),
    ] {
        assert_eq!(decode(&large, 1), Err(Fault::TooLarge), "{} bytes", large.len());
    }
    for fine in [nested(MAX_DEPTH), line_of(MAX_LINE)] {
        assert!(decode(&fine, 1).unwrap().is_some());
    }
    assert_eq!(decode(b"$262144\r\n", 1), Ok(None));
    assert_eq!(decode(b"*4096\r\n", 1), Ok(None));
    // The first event of a stream's answer, as deep as it gets.
    let event = b"*1\r\n*2\r\n$1\r\ns\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\ne\r\n$1\r\nv\r\n";
    assert!(decode(event, 1).unwrap().is_some());
}

#[test]
fn what_is_not_well_formed_is_a_fault() {
    for wrong in [
        "\r\n",
        "OK\r\n",
        "+OK\n",
        "+OK\rx",
        "+O\nK\r\n",
        "HTTP/1.1 400 Bad Request\r\n",
        ":\r\n",
        ":1x\r\n",
        ":+1\r\n",
        ":--1\r\n",
        ":9223372036854775808\r\n",
        "$-2\r\n",
        "$+1\r\n",
        "$\r\n",
        "$1 \r\n",
        "*-2\r\n",
        "*x\r\n",
        "$1\r\nxyz",
        "$1\r\nx\n\r",
        "%1\r\n",
        "_\r\n",
        "#t\r\n",
        ">1\r\n",
        "!3\r\n",
    ] {
        assert_eq!(decode(wrong.as_bytes(), 1), Err(Fault::Malformed), "{wrong:?}");
        assert_eq!(decode_in_pieces(wrong.as_bytes(), 1, 1), Err(Fault::Malformed), "{wrong:?}");
    }
}

#[test]
fn a_decoder_serves_one_question_after_the_other() {
    let mut decoder = Decoder::default();
    for number in 0..5 {
        assert!(decoder.is_empty());
        let many =
            b"*4096\r\n".iter().chain(b":1\r\n".repeat(4_096).iter()).copied().collect::<Vec<_>>();
        assert_eq!(decoder.take(&many, 1), Ok(many.len()), "{number}");
        assert!(!decoder.is_empty());
        assert_eq!(decoder.replies().len(), 1);
    }
    assert_eq!(decoder.take(b"+OK\r\n", 0), Err(Fault::Unasked));
}

#[test]
fn a_string_under_way_says_how_much_is_missing() {
    let mut decoder = Decoder::default();
    assert_eq!(decoder.missing(0), 1);
    assert_eq!(decoder.take(b"$100\r\nabc", 1), Ok(6));
    assert_eq!(decoder.missing(3), 99);
    assert!(!decoder.is_empty());
}

/// Any reply within the limits.
fn any_reply() -> impl Strategy<Value = Reply> {
    let text = "[ -~]{0,20}".prop_map(String::into_bytes);
    let item = prop_oneof![
        Just(Reply::Nil),
        text.prop_map(|text| Reply::Simple(text.into())),
        any::<i64>().prop_map(Reply::Integer),
        proptest::collection::vec(any::<u8>(), 0..200).prop_map(Reply::Bulk),
        Just(Reply::Error(ServerError::Oom)),
    ];
    item.prop_recursive(MAX_DEPTH as u32, 40, 5, |inner| {
        proptest::collection::vec(inner, 0..5).prop_map(Reply::Array)
    })
}

/// A reply as a server writes it.
fn write(reply: &Reply, to: &mut Vec<u8>) {
    match reply {
        Reply::Nil => to.extend(b"$-1\r\n"),
        Reply::Simple(status) => to.extend([b"+", &status[..], b"\r\n"].concat()),
        Reply::Integer(number) => to.extend(format!(":{number}\r\n").into_bytes()),
        Reply::Bulk(bytes) => {
            to.extend(format!("${}\r\n", bytes.len()).into_bytes());
            to.extend([&bytes[..], b"\r\n"].concat());
        }
        Reply::Array(items) => {
            to.extend(format!("*{}\r\n", items.len()).into_bytes());
            items.iter().for_each(|item| write(item, to));
        }
        Reply::Error(_) => to.extend(b"-OOM no\r\n"),
    }
}

proptest! {
    #[test]
    fn what_a_server_writes_is_what_is_read(
        replies in proptest::collection::vec(any_reply(), 0..5), size in 1_usize..64,
    ) {
        let mut sent = Vec::new();
        replies.iter().for_each(|reply| write(reply, &mut sent));
        prop_assert_eq!(decode(&sent, replies.len()), Ok(Some(replies.clone())));
        prop_assert_eq!(decode_in_pieces(&sent, replies.len(), size), Ok(Some(replies.clone())));
        if let Some(last) = sent.len().checked_sub(1) {
            prop_assert_eq!(decode(&sent[..last], replies.len()), Ok(None));
            sent.push(b'+');
            prop_assert_eq!(decode(&sent, replies.len()), Err(Fault::Unasked));
        }
    }

    #[test]
    fn no_bytes_are_read_otherwise_for_coming_in_pieces(
        bytes in proptest::collection::vec(
            prop_oneof![
                Just(b"\r\n".to_vec()), Just(b"$3\r\n".to_vec()), Just(b"*2\r\n".to_vec()),
                Just(b"+OK\r\n".to_vec()), Just(b":1\r\n".to_vec()), Just(b"$-1\r\n".to_vec()),
                proptest::collection::vec(any::<u8>(), 1..4),
            ], 0..20),
        size in 1_usize..16, expected in 1_usize..4,
    ) {
        let bytes = bytes.concat();
        prop_assert_eq!(decode(&bytes, expected), decode_in_pieces(&bytes, expected, size));
    }
}
