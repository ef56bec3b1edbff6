//! Every status but 200.

use super::*;

#[test]
fn no_content_is_inactive() {
    assert_eq!(read(&response(204, "", ""), Forward::Jwt, NOW), Answer::Inactive(None));
    assert_eq!(read(&response(204, "", ""), Forward::None, NOW), Answer::Inactive(None));
}

#[test]
fn unsupported_token_type_is_inactive_where_it_can_only_mean_the_token() {
    let read = |status, body| read(&response(status, JSON, body), Forward::Jwt, NOW);
    let body = r#"{"error":"unsupported_token_type","error_description":"x"}"#;
    assert_eq!(read(400, body), Answer::Inactive(None));
    for other in [404, 405, 500] {
        assert_eq!(read(other, body), status(other));
    }
    for body in [
        "",
        "unsupported_token_type",
        r#""unsupported_token_type""#,
        r#"{"error":"invalid_request"}"#,
        r#"{"error":"Unsupported_token_type"}"#,
        r#"{"error":["unsupported_token_type"]}"#,
        r#"{"error":"invalid_request","error":"unsupported_token_type"}"#,
        r#"{"error_description":"unsupported_token_type"}"#,
    ] {
        assert_eq!(read(400, body), status(400), "{body}");
    }
}

#[test]
fn unsupported_token_type_may_mean_another_hint() {
    let body = r#"{"error":"unsupported_token_type"}"#;
    let with = |hint: Option<&str>, status| {
        let terms = Terms::new(Forward::Jwt, hint.map(str::as_bytes));
        read(&response(status, JSON, body), terms, NOW)
    };
    for hint in [None, Some("access_token")] {
        assert_eq!(with(hint, 400), Answer::Inactive(None));
        assert_eq!(with(hint, 401), Answer::Failed(NoVerdict::Credentials(401)));
    }
    for hint in ["refresh_token", "Access_token", "made-up"] {
        for code in [400, 401, 403] {
            let expected = Answer::Failed(NoVerdict::Hint(code));
            assert_eq!(with(Some(hint), code), expected, "{hint}");
        }
        assert_eq!(with(Some(hint), 404), status(404), "{hint}");
        let terms = Terms::new(Forward::Jwt, Some(hint.as_bytes()));
        let other = response(400, JSON, r#"{"error":"invalid_request"}"#);
        assert_eq!(read(&other, terms, NOW), status(400));
    }
}

#[test]
fn a_refusal_that_says_inactive_is_inactive() {
    for code in [400, 401, 403, 404, 410, 422, 429, 499] {
        for body in [
            r#"{"active":false}"#,
            " {\"active\" : false}\r\n",
            r#"{"error":"invalid_client","active":false,"jwt":7}"#,
        ] {
            for content_type in [JSON, "application/problem+json", ""] {
                let response = response(code, content_type, body);
                assert_eq!(read(&response, Forward::Jwt, NOW), Answer::Inactive(None), "{code}");
                let terms = Terms::new(Forward::None, Some(b"refresh_token"));
                assert_eq!(read(&response, terms, NOW), Answer::Inactive(None), "{code}");
            }
        }
        for body in [
            r#"{"active":true}"#,
            r#"{"active":"false"}"#,
            r#"{"active":null}"#,
            r#"{"active":0}"#,
            r#"{"Active":false}"#,
            r#"{"error":{"active":false}}"#,
            r#"[{"active":false}]"#,
            r#"{"active":false,"active":false}"#,
            r#"{"active":false} x"#,
            "active=false",
            "",
        ] {
            let answer = read(&response(code, JSON, body), Forward::Jwt, NOW);
            assert!(matches!(answer, Answer::Failed(_)), "{code} {body}: {answer:?}");
        }
    }
    let mut coded = response(400, JSON, r#"{"active":false}"#);
    coded.content_encoding = Some(b"gzip".to_vec());
    assert_eq!(read(&coded, Forward::Jwt, NOW), status(400));
    let long = format!("{{\"active\":false}}{}", " ".repeat(MAX_BODY));
    assert_eq!(read(&response(400, JSON, &long), Forward::Jwt, NOW), status(400));
    for code in [301, 500, 502] {
        let other = response(code, JSON, r#"{"active":false}"#);
        assert_eq!(read(&other, Forward::Jwt, NOW), status(code));
    }
}

#[test]
fn other_statuses_are_failures() {
    let body = json_with(&access_token("{}"), "");
    for code in [100, 199, 201, 202, 203, 205, 206, 301, 302, 303, 304, 307, 308, 404, 405, 406] {
        assert_eq!(read(&response(code, JSON, &body), Forward::Jwt, NOW), status(code));
    }
    for code in [500, 501, 502, 504, 599, 0, 999] {
        assert_eq!(read(&response(code, JSON, &body), Forward::Jwt, NOW), status(code));
    }
    for code in [401, 403] {
        for body in ["", r#"{"error":"invalid_client"}"#, &body] {
            assert_eq!(
                read(&response(code, JSON, body), Forward::Jwt, NOW),
                Answer::Failed(NoVerdict::Credentials(code))
            );
        }
    }
}

#[test]
fn refused_credentials_are_told_by_their_error_where_the_status_is_400() {
    let read = |status, body: &str| read(&response(status, JSON, body), Forward::Jwt, NOW);
    for error in ["invalid_client", "unauthorized_client"] {
        let body = format!(r#"{{"error":"{error}","error_description":"x"}}"#);
        assert_eq!(read(400, &body), Answer::Failed(NoVerdict::Credentials(400)));
        for other in [402, 404, 405, 500] {
            assert_eq!(read(other, &body), status(other));
        }
    }
    for body in [
        "",
        "invalid_client",
        r#"{"error":"invalid_request"}"#,
        r#"{"error":"Invalid_Client"}"#,
        r#"{"error":["invalid_client"]}"#,
        r#"{"error":"invalid_client","error":"invalid_client"}"#,
    ] {
        assert_eq!(read(400, body), status(400), "{body}");
    }
}

#[test]
fn too_many_requests_and_unavailable_hand_on_when_to_come_back() {
    for status in [429, 503] {
        let failure = |retry_after| match status {
            429 => NoVerdict::RateLimited { retry_after },
            _ => NoVerdict::Unavailable { retry_after },
        };
        let mut response = response(status, JSON, r#"{"active":true}"#);
        let failed = |retry_after| Answer::Failed(failure(retry_after));
        assert_eq!(read(&response, Forward::None, NOW), failed(None));
        response.retry_after = Some(b"7".to_vec());
        assert_eq!(read(&response, Forward::Jwt, NOW), failed(Some(7)));
        // 2023-11-14 22:13:20 is NOW.
        response.retry_after = Some(b"Tue, 14 Nov 2023 22:13:50 GMT".to_vec());
        assert_eq!(read(&response, Forward::Jwt, NOW), failed(Some(30)));
        response.retry_after = Some(b"soon".to_vec());
        assert_eq!(read(&response, Forward::Jwt, NOW), failed(None));
    }
}
