//! What a server's set-up and its clients ask of it: forms, JSON, log-ins with cookies. `curl` does it.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A browser without a screen: keeps cookies, follows no redirect, and trusts every certificate.
pub struct Web {
    jar: PathBuf,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status; 0 where no answer came.
    pub status: u16,
    /// The header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; what `curl` says where no answer came.
    pub body: String,
}

impl Answer {
    /// A header field's first value; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A member of the body that is a string.
    ///
    /// # Panics
    /// Where there is none, with all that came.
    pub fn text(&self, member: &str) -> String {
        let json = self.json();
        json[member].as_str().unwrap_or_else(|| panic!("a member {member}: {self:?}")).to_owned()
    }

    /// The answer, which must have this status.
    ///
    /// # Panics
    /// Where it has another one.
    #[must_use]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

impl Web {
    /// One whose cookies are kept in this directory.
    pub fn new(directory: &Path) -> Self {
        Self { jar: directory.join("cookies") }
    }

    /// Whether the URL answers, whatever it says.
    pub fn answers(&self, url: &str) -> bool {
        self.get(url).status != 0
    }

    /// GET.
    pub fn get(&self, url: &str) -> Answer {
        self.send(&[url])
    }

    /// GET or POST with these arguments of `curl` besides.
    pub fn send(&self, arguments: &[&str]) -> Answer {
        let mut curl = Command::new("curl");
        curl.args([
            "--silent",
            "--show-error",
            "--insecure",
            "--include",
            "--max-time",
            "60",
            "--noproxy",
            "*",
        ]);
        curl.args(["--header", "Expect:", "--cookie"]).arg(&self.jar).arg("--cookie-jar");
        let output = curl.arg(&self.jar).args(arguments).output().expect("curl is installed");
        let mut answer = Answer::parse(&String::from_utf8_lossy(&output.stdout));
        if answer.status == 0 {
            answer.body = String::from_utf8_lossy(&output.stderr).into_owned();
        }
        answer
    }

    /// POST of a form, as a client with id and secret (RFC 6749 §2.3.1) where they are given.
    pub fn post(&self, url: &str, client: Option<(&str, &str)>, form: &[(&str, &str)]) -> Answer {
        let body: String =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let basic = client.map(|(id, secret)| format!("{}:{}", encoded(id), encoded(secret)));
        let mut arguments = vec!["--data", &*body, url];
        if let Some(basic) = &basic {
            arguments.extend(["--user", basic]);
        }
        self.send(&arguments)
    }

    /// Another method than GET with a JSON body, and these header fields.
    pub fn json(&self, method: &str, url: &str, headers: &[&str], body: &Value) -> Answer {
        let body = body.to_string();
        let mut arguments = vec!["--request", method, "--data", &*body];
        arguments.extend(["--header", "Content-Type: application/json"]);
        for header in headers {
            arguments.extend(["--header", header]);
        }
        arguments.push(url);
        self.send(&arguments)
    }

    /// Logs in and consents as a person does, from the authorization endpoint to the code (RFC 6749
    /// §4.1): follows what redirects, fills in each form on the way with those of `fields` that it
    /// has, and returns the parameter `code` with which the server sends the browser to
    /// `redirect_uri`.
    ///
    /// # Panics
    /// Where it does not come to that.
    pub fn code(&self, url: &str, redirect_uri: &str, fields: &[(&str, &str)]) -> String {
        let mut url = url.to_owned();
        let mut answer = self.get(&url);
        for _ in 0..12 {
            let location = answer.header("location");
            if location.starts_with(redirect_uri) {
                let query = location.split(['?', '#']).nth(1).unwrap_or("");
                let code =
                    form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "code");
                return code.unwrap_or_else(|| panic!("a code: {location}")).1.into_owned();
            }
            if (300..400).contains(&answer.status) && !location.is_empty() {
                // Browsers forgive a blank there.
                url = joined(&url, location).replace(' ', "%20");
                answer = self.get(&url);
                continue;
            }
            assert_eq!(answer.status, 200, "{url}: {answer:?}");
            let form = Form::with(&answer.body, fields);
            let known = fields.iter().filter(|(name, _)| form.names.iter().any(|it| it == name));
            let hidden = form.hidden.iter().map(|(name, value)| (&**name, &**value));
            let sent: Vec<_> = hidden.chain(known.copied()).collect();
            url = joined(&url, &form.action);
            answer = self.post(&url, None, &sent);
        }
        panic!("no way to {redirect_uri}; at last {url}: {answer:?}");
    }
}

/// The challenge (S256) to a verifier of PKCE (RFC 7636 §4.2).
pub(super) fn pkce(verifier: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, verifier.as_bytes());
    base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, digest)
}

/// A form of a page.
struct Form {
    /// Where it goes; empty for the page itself.
    action: String,
    /// All its fields.
    names: Vec<String>,
    /// The hidden ones and what they hold.
    hidden: Vec<(String, String)>,
}

impl Form {
    /// The page's first form with one of these fields, else its first: others stand in its frame.
    fn with(page: &str, fields: &[(&str, &str)]) -> Self {
        let mut forms: Vec<_> = page.split("<form").skip(1).map(Self::of).collect();
        assert!(!forms.is_empty(), "a form: {page}");
        let has = |form: &Self| form.names.iter().any(|name| fields.iter().any(|it| it.0 == name));
        let place = forms.iter().position(has).unwrap_or(0);
        forms.swap_remove(place)
    }

    /// One whose tag's name stands before this.
    fn of(form: &str) -> Self {
        let form = form.split("</form").next().unwrap_or("");
        let mut tags = form.split('<').map(|tag| tag.split('>').next().unwrap_or(""));
        let action = tags.next().and_then(|tag| attribute(tag, "action")).unwrap_or_default();
        let (mut names, mut hidden) = (Vec::new(), Vec::new());
        for tag in tags.filter(|tag| tag.starts_with("input") || tag.starts_with("button")) {
            let Some(name) = attribute(tag, "name") else { continue };
            if attribute(tag, "type").is_some_and(|kind| kind == "hidden") {
                hidden.push((name.clone(), attribute(tag, "value").unwrap_or_default()));
            }
            names.push(name);
        }
        Self { action, names, hidden }
    }
}

/// An attribute of a tag, as it is meant.
fn attribute(tag: &str, name: &str) -> Option<String> {
    let start = [" ", "\n", "\t"].iter().find_map(|blank| {
        let start = format!("{blank}{name}=");
        tag.find(&start).map(|at| at + start.len())
    })?;
    let value = &tag[start..];
    let quote = value.chars().next().filter(|first| matches!(first, '"' | '\''));
    let value = match quote {
        Some(quote) => value[1..].split(quote).next(),
        None => value.split(char::is_whitespace).next(),
    };
    let mut value = value.unwrap_or("").to_owned();
    for (entity, sign) in [("&quot;", "\""), ("&#x27;", "'"), ("&#39;", "'"), ("&amp;", "&")] {
        value = value.replace(entity, sign);
    }
    Some(value)
}

/// What a reference on the page `base` points to.
fn joined(base: &str, reference: &str) -> String {
    let origin = base.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    match reference {
        "" => base.to_owned(),
        absolute if absolute.starts_with("http") => absolute.to_owned(),
        path if path.starts_with('/') => format!("{origin}{path}"),
        query if query.starts_with('?') => {
            format!("{}{query}", base.split('?').next().unwrap_or(""))
        }
        name => {
            let path = base.split('?').next().unwrap_or("");
            format!("{}/{name}", &path[..path.rfind('/').unwrap_or(path.len())])
        }
    }
}

impl Answer {
    fn parse(text: &str) -> Self {
        let mut rest = text;
        loop {
            let (head, body) = rest.split_once("\r\n\r\n").unwrap_or((rest, ""));
            let mut lines = head.lines();
            let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok());
            // Interim answers come first.
            if status.is_some_and(|status: u16| status < 200) {
                rest = body;
                continue;
            }
            let headers = lines
                .filter_map(|line| line.split_once(':'))
                .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
                .collect();
            return Self { status: status.unwrap_or(0), headers, body: body.to_owned() };
        }
    }
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_with_the_wanted_fields_is_filled_in() {
        let page = r#"<form action="/logout"><input type="hidden" name="csrf" value="1"></form>
            <FORM></FORM><form method=post
            action='/login?next=a&amp;b'><input name=user><button name="ok" type="submit"></button>
            <input value="&quot;2&quot;" name="csrf" type=hidden></form>"#;
        let form = Form::with(page, &[("user", "alice")]);
        assert_eq!(form.action, "/login?next=a&b");
        assert_eq!(form.names, ["user", "ok", "csrf"]);
        assert_eq!(form.hidden, [("csrf".to_owned(), "\"2\"".to_owned())]);
        assert_eq!(Form::with(page, &[("other", "")]).action, "/logout");
    }

    #[test]
    fn references_are_joined_to_their_page() {
        let base = "http://a:1/b/c?d=e/f";
        for (reference, joined_to) in [
            ("", base),
            ("https://z/y", "https://z/y"),
            ("/x?to=http://z", "http://a:1/x?to=http://z"),
            ("?g", "http://a:1/b/c?g"),
            ("h", "http://a:1/b/h"),
        ] {
            assert_eq!(joined(base, reference), joined_to);
        }
    }
}
