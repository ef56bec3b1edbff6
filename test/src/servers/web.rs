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
    /// The body.
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
        curl.args(["--silent", "--insecure", "--include", "--max-time", "60", "--noproxy", "*"]);
        curl.args(["--header", "Expect:", "--cookie"]).arg(&self.jar).arg("--cookie-jar");
        let output = curl.arg(&self.jar).args(arguments).output().expect("curl is installed");
        Answer::parse(&String::from_utf8_lossy(&output.stdout))
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
