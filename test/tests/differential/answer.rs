//! Answers of an authorization server: what is in them, which the model reads. How they are written
//! down, which the gateway reads, is in `written`.

use phantom_token_test::Script;
use phantom_token_test::random::Random;

/// A token's end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Exp {
    Absent,
    /// So many seconds from now; negative where it has passed.
    In(i64),
    /// The same as a text.
    Digits(i64),
    /// 0.
    Zero,
    Null,
    /// A text, a negative number, an array.
    Nonsense(&'static str),
}

/// A scope claim.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scope {
    Absent,
    Text(&'static str),
    List(&'static [&'static str]),
    Nonsense(&'static str),
}

/// `cnf`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Binding {
    Absent,
    Dpop,
    Certificate,
    /// `token_type` is DPoP, and nothing is said of the key.
    Typed,
    Nonsense,
}

/// `token_type`, `typ` and the like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Unnamed,
    /// One that may be an access token's.
    Named(&'static str),
    Other(&'static str),
}

/// `active`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Active {
    Absent,
    True,
    False,
    /// No boolean.
    Nonsense(&'static str),
}

/// The members of a JSON object that matter.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    pub(crate) active: Active,
    pub(crate) exp: Exp,
    pub(crate) scope: Scope,
    pub(crate) scp: Scope,
    pub(crate) binding: Binding,
    pub(crate) kind: Kind,
    /// One member stands there twice.
    pub(crate) duplicate: bool,
    /// `token_introspection` is a member, as in an RFC 9701 answer.
    pub(crate) wraps: bool,
}

/// What stands where a JWT should.
#[derive(Clone, Debug)]
pub(crate) enum Jwt {
    /// Three segments.
    Signed { alg: Option<&'static str>, typ: Option<&'static str>, claims: Claims },
    /// Five segments; nobody here can read the payload.
    Encrypted,
    /// A JWT that was broken.
    Broken(Damage),
}

/// How a JWT was broken.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Damage {
    Opaque,
    NoSignature,
    SixSegments,
    InnerBlank,
    ControlByte,
    HeaderNoJson,
    PayloadNoObject,
}

/// A JSON answer.
#[derive(Clone, Debug)]
pub(crate) struct Object {
    pub(crate) claims: Claims,
    /// `phantom_token`, then `jwt`.
    pub(crate) members: [Option<Member>; 2],
}

/// What a member that may hold the JWT is.
#[derive(Clone, Debug)]
pub(crate) enum Member {
    Text(Jwt, String),
    NoText,
}

/// An answer's body.
#[derive(Clone, Debug)]
pub(crate) enum Body {
    Empty,
    Jwt(Jwt, String),
    Json(Object),
    /// RFC 9701: the object inside a JWT, whose header may be wrong.
    Wrapped {
        alg: &'static str,
        typ: &'static str,
        object: Object,
    },
    /// No JSON, no JWT.
    Garbage(&'static str),
    /// `{"error":"…"}`.
    Error(&'static str),
    /// `{"error":"…","active":false}`.
    Refused(&'static str),
    /// A good JWT of more than 64 KiB.
    Huge(u64),
}

/// `Content-Type`: how it is written, and what it means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Media {
    Jwt,
    Json,
    Wrapped,
    Unknown,
}

/// `Cache-Control` and `Age`, and whether they let an answer be kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keeping {
    pub(crate) lines: &'static [&'static str],
    pub(crate) age: Option<&'static str>,
    pub(crate) under_cap: bool,
    pub(crate) under_strict: bool,
}

/// How the bytes are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sending {
    Length,
    Chunked,
    UntilClose,
    /// The connection is closed before the body's end.
    CutShort,
    /// In pieces.
    Dripped,
    /// Two lengths that differ.
    TwoLengths,
    /// No HTTP.
    Gibberish,
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) content_type: Option<(&'static str, Media)>,
    pub(crate) compressed: bool,
    /// Blanks and line ends around the body.
    pub(crate) padded: bool,
    pub(crate) body: Body,
    pub(crate) keeping: Keeping,
    pub(crate) retry_after: Option<&'static str>,
    pub(crate) sending: Sending,
}

const fn keeping(
    lines: &'static [&'static str],
    age: Option<&'static str>,
    under_cap: bool,
    under_strict: bool,
) -> Keeping {
    Keeping { lines, age, under_cap, under_strict }
}

const KEEPINGS: &[Keeping] = &[
    keeping(&[], None, true, true),
    keeping(&["max-age=600"], None, true, true),
    keeping(&["no-store"], None, true, false),
    keeping(&["No-Cache, max-age=600"], None, true, false),
    keeping(&["private"], None, true, false),
    keeping(&["max-age=0"], None, true, false),
    keeping(&["max-age=0, private, must-revalidate"], Some("5"), true, false),
    keeping(&["no-store, max-age=0"], None, true, false),
    keeping(&["s-maxage=0, max-age=600"], None, false, false),
    keeping(&["max-age=600", "no-store"], None, true, false),
    keeping(&["max-age=60"], Some("100"), false, false),
    keeping(&["max-age=6000"], Some("100"), true, true),
    keeping(&["max-age=nonsense"], None, true, false),
    keeping(&["x=\"no-store, max-age=0\", Max-Age=\"600\""], None, true, true),
    keeping(&["must-revalidate, max-age=600"], None, true, true),
    keeping(&["max-age=99999999999999999999"], None, true, true),
];

const MEDIA: &[(&str, Media)] = &[
    ("application/jwt", Media::Jwt),
    ("Application/JWT; charset=utf-8", Media::Jwt),
    ("application/json", Media::Json),
    ("APPLICATION/json ;charset=UTF-8", Media::Json),
    ("application/token-introspection+jwt", Media::Wrapped),
    ("application/token-introspection+jwt; x=y", Media::Wrapped),
];

const UNKNOWN_MEDIA: &[(&str, Media)] = &[
    ("text/html", Media::Unknown),
    ("application/jwtx", Media::Unknown),
    ("application/json, application/jwt", Media::Unknown),
    ("", Media::Unknown),
];

fn scope(random: &mut Random) -> Scope {
    match random.below(12) {
        0..=2 => Scope::Absent,
        3 | 4 => Scope::Text("read write"),
        5 => Scope::Text("write  read x"),
        6 => Scope::Text(""),
        7 => Scope::Text("readwrite Read"),
        8 => Scope::List(&["read", "write"]),
        9 => Scope::List(&[]),
        10 => Scope::List(&["read write"]),
        _ if random.one_in(4) => random.of(&[Scope::Nonsense("7"), Scope::Nonsense("{}")]),
        _ => Scope::Text("write read"),
    }
}

fn claims(random: &mut Random, active: Active) -> Claims {
    let exp = match random.below(30) {
        0 => Exp::In(-1_000),
        1 => Exp::Nonsense(random.of(&["\"soon\"", "-5", "\"-5\"", "[1]", "true"])),
        2..=4 => Exp::Absent,
        5 => random.of(&[Exp::Null, Exp::Zero, Exp::Digits(1_000), Exp::Digits(-1_000)]),
        _ => Exp::In(random.of(&[1_000, 100_000])),
    };
    let binding = match random.below(40) {
        0..=2 => Binding::Dpop,
        3 | 4 => Binding::Certificate,
        5 => Binding::Typed,
        6 => Binding::Nonsense,
        _ => Binding::Absent,
    };
    let kind = match random.below(12) {
        0..=5 => Kind::Named(random.of(&[
            r#""token_type":"Bearer""#,
            r#""typ":"Bearer","token_use":"access_token""#,
            r#""token_class":"""#,
        ])),
        6 => Kind::Other(random.of(&[
            r#""typ":"Refresh""#,
            r#""token_use":"refresh_token","token_usage":"access_token""#,
            r#""token_class":"USER-CODE""#,
            r#""typ":"urn:ietf:params:oauth:token-type:id_token""#,
        ])),
        7 => Kind::Unnamed,
        _ => Kind::Unnamed,
    };
    let kind = match binding {
        Binding::Typed => Kind::Named(r#""token_type":"dpoP""#),
        _ => kind,
    };
    let (scope, scp) = (scope(random), scope(random));
    Claims { active, exp, scope, scp, binding, kind, duplicate: random.one_in(60), wraps: false }
}

fn jwt(random: &mut Random, inactive: bool) -> Jwt {
    match random.below(30) {
        0 => Jwt::Broken(random.of(&[
            Damage::Opaque,
            Damage::NoSignature,
            Damage::SixSegments,
            Damage::InnerBlank,
            Damage::ControlByte,
            Damage::HeaderNoJson,
            Damage::PayloadNoObject,
        ])),
        1 => Jwt::Encrypted,
        2 => {
            let active = random.of(&[Active::True, Active::Nonsense("\"x\""), Active::Absent]);
            let mut claims = claims(random, active);
            claims.wraps = random.one_in(2);
            Jwt::Signed {
                alg: random.of(&[Some("ES256"), Some("none"), Some("NONE"), None]),
                typ: random.of(&[None, Some("Token-Introspection+JWT"), Some("at+jwt")]),
                claims,
            }
        }
        _ => {
            let active = if inactive { Active::False } else { Active::Absent };
            let typ = random.of(&[None, Some("JWT"), Some("at+jwt")]);
            Jwt::Signed { alg: Some("ES256"), typ, claims: claims(random, active) }
        }
    }
}

fn object(random: &mut Random, serial: u64) -> Object {
    let active = match random.below(24) {
        0 => Active::Absent,
        1 => Active::Nonsense(random.of(&["\"true\"", "1", "null", "[true]"])),
        2..=5 => Active::False,
        _ => Active::True,
    };
    let mut member = |odds: usize| match random.below(odds) {
        0 => Some(Member::NoText),
        1 | 2 => None,
        _ => {
            let jwt = jwt(random, false);
            let text = jwt.text(serial);
            Some(Member::Text(jwt, text))
        }
    };
    let members = [member(9), member(18)];
    Object { claims: claims(random, active), members }
}

impl Answer {
    /// Any answer; `serial` makes its JWT unlike all others.
    pub(crate) fn generate(random: &mut Random, serial: u64, refuses_us: bool) -> Self {
        let status = match random.below(40) {
            _ if refuses_us => random.of(&[401, 403]),
            0..=3 => 204,
            4 => 400,
            5 => 429,
            6 | 7 => random.of(&[201, 206, 301, 302, 307, 404, 405, 500, 502, 503, 504]),
            _ => 200,
        };
        let mut content_type = (!random.one_in(40)).then(|| random.of(MEDIA));
        if random.one_in(30) {
            content_type = Some(random.of(UNKNOWN_MEDIA));
        }
        let body = match random.below(60) {
            0 => Body::Empty,
            1 => {
                Body::Garbage(random.of(&["active=true", "{\"active\":tru", "[]", "\"x\"", "\r\n"]))
            }
            2 => Body::Huge(serial),
            _ => match content_type.map(|(_, media)| media) {
                Some(Media::Json) => Body::Json(object(random, serial)),
                Some(Media::Wrapped) if !random.one_in(10) => Body::Wrapped {
                    alg: if random.one_in(12) { "none" } else { "ES256" },
                    typ: if random.one_in(12) { "JWT" } else { "token-introspection+jwt" },
                    object: object(random, serial),
                },
                Some(Media::Wrapped) => Body::Jwt(Jwt::Encrypted, Jwt::Encrypted.text(serial)),
                // As the drafts before RFC 9701 had it.
                Some(Media::Jwt) if random.one_in(10) => Body::Wrapped {
                    alg: if random.one_in(12) { "none" } else { "ES256" },
                    typ: if random.one_in(12) { "JWT" } else { "token-introspection+jwt" },
                    object: object(random, serial),
                },
                _ => {
                    let inactive = random.one_in(8);
                    let jwt = jwt(random, inactive);
                    let text = jwt.text(serial);
                    Body::Jwt(jwt, text)
                }
            },
        };
        // An error's body is JSON, mostly.
        let body = match status {
            204 => Body::Empty,
            400 => {
                content_type = Some(("application/json", Media::Json));
                let code = random.of(&["unsupported_token_type", "invalid_request"]);
                if random.one_in(3) { Body::Refused(code) } else { Body::Error(code) }
            }
            401 | 403 => Body::Error("invalid_client"),
            404 | 405 if random.one_in(2) => Body::Refused("x"),
            _ => body,
        };
        let sending = match random.below(32) {
            _ if status != 200 => Sending::Length,
            0..=3 => Sending::Chunked,
            4 | 5 => Sending::UntilClose,
            6 => Sending::CutShort,
            7 => Sending::Dripped,
            8 => Sending::TwoLengths,
            9 => Sending::Gibberish,
            _ => Sending::Length,
        };
        Self {
            status,
            content_type,
            compressed: status == 200 && random.one_in(40),
            padded: random.one_in(5),
            body,
            keeping: random.of(KEEPINGS),
            retry_after: random.of(&[None, Some("7"), Some("soon"), Some("0")]),
            sending,
        }
    }

    /// How the server is to answer.
    pub(crate) fn script(&self) -> Script {
        let mut body = self.body.text();
        if self.padded {
            body = format!(" \r\n\t{body}\n ");
        }
        let mut script = Script::status(self.status);
        let mut head = format!("HTTP/1.1 {} Status\r\n", self.status);
        let mut add = |name: &str, value: &str| {
            head.push_str(&format!("{name}: {value}\r\n"));
            script = script.clone().header(name, value);
        };
        if let Some((content_type, _)) = self.content_type {
            add("Content-Type", content_type);
        }
        if self.compressed {
            add("Content-Encoding", "gzip");
        }
        for line in self.keeping.lines {
            add("Cache-Control", line);
        }
        if let Some(age) = self.keeping.age {
            add("Age", age);
        }
        if let Some(seconds) = self.retry_after {
            add("Retry-After", seconds);
        }
        add("Location", "/elsewhere");
        let length = body.len();
        match self.sending {
            Sending::Length => script.body(body),
            Sending::Chunked => script.body(body).chunked(),
            Sending::UntilClose => script.body(body).until_close(),
            Sending::Dripped => script.body(body).drip(1 + length / 7, std::time::Duration::ZERO),
            Sending::CutShort => {
                let length = length + 1;
                Script::raw(format!("{head}Content-Length: {length}\r\n\r\n{body}")).then_close()
            }
            Sending::TwoLengths => Script::raw(format!(
                "{head}Content-Length: {length}\r\nContent-Length: {}\r\n\r\n{body}",
                length + 1
            ))
            .then_close(),
            Sending::Gibberish => Script::raw(format!("{length}\r\n\r\n{body}")).then_close(),
        }
    }
}
