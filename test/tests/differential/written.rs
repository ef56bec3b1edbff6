//! Answers as they are sent.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::answer::*;

impl Jwt {
    /// As it is sent.
    pub(crate) fn text(&self, serial: u64) -> String {
        let header = r#"{"alg":"ES256"}"#;
        let payload = format!(r#"{{"jti":"{serial}"}}"#);
        let good = compact(header, &payload);
        match self {
            Jwt::Signed { alg, typ, claims } => {
                let mut fields = vec![r#""kid":"k""#.to_owned()];
                fields.extend(alg.map(|alg| format!(r#""alg":"{alg}""#)));
                fields.extend(typ.map(|typ| format!(r#""typ":"{typ}""#)));
                let mut members = vec![format!(r#""jti":"{serial}""#)];
                claims.write(&mut members);
                compact(&object_of(&fields), &object_of(&members))
            }
            Jwt::Encrypted => {
                let header = format!(r#"{{"alg":"RSA-OAEP","enc":"A256GCM","kid":"{serial}"}}"#);
                format!("{}.a2V5.aXY.Y2lwaGVydGV4dA.dGFn", URL_SAFE_NO_PAD.encode(header))
            }
            Jwt::Broken(damage) => match damage {
                Damage::Opaque => format!("opaque-{serial}"),
                Damage::NoSignature => good.trim_end_matches("c2lnbmF0dXJl").to_owned(),
                Damage::SixSegments => format!("{good}.a.b.c"),
                Damage::InnerBlank => good.replacen('.', ". ", 1),
                Damage::ControlByte => format!("{good}\u{1}"),
                Damage::HeaderNoJson => compact("alg=ES256", &payload),
                Damage::PayloadNoObject => compact(header, "[1]"),
            },
        }
    }
}

impl Claims {
    pub(crate) fn nothing() -> Self {
        Self {
            active: Active::Absent,
            exp: Exp::Absent,
            scope: Scope::Absent,
            scp: Scope::Absent,
            binding: Binding::Absent,
            kind: Kind::Unnamed,
            duplicate: false,
            wraps: false,
        }
    }

    fn write(&self, members: &mut Vec<String>) {
        match self.active {
            Active::Absent => {}
            Active::True => members.push(r#""active":true"#.to_owned()),
            Active::False => members.push(r#""active":false"#.to_owned()),
            Active::Nonsense(value) => members.push(format!(r#""active":{value}"#)),
        }
        match self.exp {
            Exp::Absent => {}
            Exp::In(seconds) => members.push(format!(r#""exp":{}"#, now() + seconds)),
            Exp::Digits(seconds) => members.push(format!(r#""exp":"{}""#, now() + seconds)),
            Exp::Zero => members.push(r#""exp":0"#.to_owned()),
            Exp::Null => members.push(r#""exp":null"#.to_owned()),
            Exp::Nonsense(value) => members.push(format!(r#""exp":{value}"#)),
        }
        for (name, scope) in [("scope", self.scope), ("scp", self.scp)] {
            match scope {
                Scope::Absent => {}
                Scope::Text(text) => members.push(format!(r#""{name}":"{text}""#)),
                Scope::List(values) => {
                    let values: Vec<_> =
                        values.iter().map(|value| format!("\"{value}\"")).collect();
                    members.push(format!(r#""{name}":[{}]"#, values.join(",")));
                }
                Scope::Nonsense(value) => members.push(format!(r#""{name}":{value}"#)),
            }
        }
        match self.kind {
            Kind::Unnamed => {}
            Kind::Named(named) | Kind::Other(named) => members.push(named.to_owned()),
        }
        match self.binding {
            Binding::Absent => {}
            Binding::Dpop => members.push(r#""cnf":{"jkt":"0ZcOCORZNYy"}"#.to_owned()),
            Binding::Certificate => members.push(r#""cnf":{"x5t#S256":"bwcK0esc3A"}"#.to_owned()),
            Binding::Typed => {} // its kind says so
            Binding::Nonsense => members.push(r#""cnf":"x""#.to_owned()),
        }
        if self.duplicate {
            members.extend([r#""x":1"#.to_owned(), r#""\u0078":2"#.to_owned()]);
        }
        if self.wraps {
            members.push(r#""token_introspection":{"active":true}"#.to_owned());
        }
    }
}

impl Object {
    fn text(&self) -> String {
        let mut members = vec![r#""sub":"alice""#.to_owned()];
        for (name, member) in ["jwt", "phantom_token"].iter().zip(self.members.iter().rev()) {
            match member {
                None => {}
                Some(Member::NoText) => members.push(format!(r#""{name}":["x"]"#)),
                Some(Member::Text(_, text)) => {
                    let text = text.replace('\u{1}', "\\u0001");
                    members.push(format!(r#""{name}":"{text}""#));
                }
            }
        }
        self.claims.write(&mut members);
        object_of(&members)
    }
}

impl Body {
    pub(crate) fn text(&self) -> String {
        match self {
            Body::Empty => String::new(),
            Body::Jwt(_, text) => text.clone(),
            Body::Huge(serial) => huge(*serial),
            Body::Json(object) => object.text(),
            Body::Wrapped { alg, typ, object } => compact(
                &format!(r#"{{"alg":"{alg}","typ":"{typ}"}}"#),
                &format!(r#"{{"iss":"as","token_introspection":{}}}"#, object.text()),
            ),
            Body::Garbage(text) => (*text).to_owned(),
            Body::Error(code) => format!(r#"{{"error":"{code}"}}"#),
            Body::Refused(code) => format!(r#"{{"error":"{code}","active":false}}"#),
        }
    }
}

fn huge(serial: u64) -> String {
    let padding = "p".repeat(50_000);
    compact(r#"{"alg":"ES256"}"#, &format!(r#"{{"jti":"{serial}","padding":"{padding}"}}"#))
}

fn compact(header: &str, payload: &str) -> String {
    format!("{}.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
}

fn object_of(members: &[String]) -> String {
    format!("{{{}}}", members.join(","))
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs() as i64)
}
