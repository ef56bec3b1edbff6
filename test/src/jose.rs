//! Other people's verifiers of JWTs: npm's `jose`, PyPI's `joserfc` and `PyJWT`.
//!
//! `make setup` installs them into `test/jose`. Where Python's two cannot be installed, tests say so
//! and go on with the first.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::nginx::skip;
use crate::peer;

/// A library that verifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verifier {
    /// npm's `jose`.
    Jose,
    /// PyPI's `joserfc`.
    Joserfc,
    /// PyPI's `PyJWT`.
    PyJwt,
}

/// A JWT, and what it must be.
#[derive(Clone, Debug)]
pub struct Check<'a> {
    /// The compact JWS.
    pub token: &'a str,
    /// `iss`.
    pub issuer: &'a str,
    /// `aud`, or one of them.
    pub audience: &'a str,
    /// The one algorithm that may have signed it.
    pub algorithm: &'a str,
    /// `typ`, where it matters.
    pub typ: Option<&'a str>,
    /// The secret of HS256; `None`: the key set's keys.
    pub secret: Option<&'a str>,
}

impl Verifier {
    /// Those that are installed.
    pub fn installed() -> Vec<Verifier> {
        if !python().is_file() {
            skip("joserfc and PyJWT are not installed");
            return vec![Verifier::Jose];
        }
        vec![Verifier::Jose, Verifier::Joserfc, Verifier::PyJwt]
    }

    /// Verifies JWTs by the keys of a set: signature, algorithm, `iss`, `aud`, times, and that `iss`,
    /// `sub`, `aud`, `exp`, `iat` and `jti` are there. Returns the claims of each, or why it is
    /// refused.
    ///
    /// # Panics
    /// Where the library is not installed, or gives up.
    pub fn verify(self, jwks: &Value, checks: &[Check<'_>]) -> Vec<Result<Value, String>> {
        self.verify_by_sets(&[(jwks.clone(), checks.to_vec())]).remove(0)
    }

    /// As [`Self::verify`], by several key sets in one process, which takes long to start.
    ///
    /// # Panics
    /// Where the library is not installed, or gives up.
    pub fn verify_by_sets(
        self,
        sets: &[(Value, Vec<Check<'_>>)],
    ) -> Vec<Vec<Result<Value, String>>> {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let given = sets.iter().map(|(jwks, checks)| {
            let checks: Vec<Value> = checks.iter().map(Check::json).collect();
            json!({ "jwks": jwks, "checks": checks })
        });
        let given = Value::Array(given.collect());
        file.write_all(given.to_string().as_bytes()).expect("it is written");
        let path = file.path().to_str().expect("a path in UTF-8");
        let verdicts = match self {
            Verifier::Jose => peer::run("jose", &[path]),
            Verifier::Joserfc => run_python("joserfc", path),
            Verifier::PyJwt => run_python("pyjwt", path),
        };
        let verdict = |verdict: &Value| match &verdict["refused"] {
            Value::String(why) => Err(why.clone()),
            _ => Ok(verdict["claims"].clone()),
        };
        let all = verdicts.as_array().expect("verdicts for each set");
        assert_eq!(all.len(), sets.len());
        let of_set = |(verdicts, (_, checks)): (&Value, &(Value, Vec<Check<'_>>))| {
            let verdicts = verdicts.as_array().expect("a verdict for each");
            assert_eq!(verdicts.len(), checks.len());
            verdicts.iter().map(verdict).collect()
        };
        all.iter().zip(sets).map(of_set).collect()
    }
}

impl Check<'_> {
    fn json(&self) -> Value {
        let Check { token, issuer, audience, algorithm, typ, secret } = self;
        json!({
            "token": token,
            "issuer": issuer,
            "audience": audience,
            "algorithm": algorithm,
            "typ": typ,
            "secret": secret,
        })
    }
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("jose")
}

fn python() -> PathBuf {
    directory().join("venv/bin/python")
}

fn run_python(library: &str, file: &str) -> Value {
    let mut command = Command::new(python());
    let output = command.arg(directory().join("peer.py")).args([library, file]).output();
    let output = output.expect("Python is installed");
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"))
}
