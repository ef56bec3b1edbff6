//! One question to the endpoint, as the module asks it, and what came.

use std::fs::File;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use phantom_token_engine::answer::{self, Answer, Forward, Terms};
use phantom_token_engine::client::{
    self, Body, Call, CallError, ClientAuth, Common, Connections, RequestCause, Servers,
};
use phantom_token_engine::http::form;
use phantom_token_engine::http::response::Response;
use phantom_token_engine::shared::health::question;
use zeroize::Zeroizing;

use crate::options::{CLIENT_ID, DEFAULT_TIMEOUT, Options};

/// The hint that every server takes.
pub(crate) const HINT: &str = "access_token";

/// How the server is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Way {
    pub(crate) auth: ClientAuth,
    pub(crate) accept: Accept,
    /// [`HINT`] is sent.
    pub(crate) hint: bool,
}

/// The media type that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accept {
    Jwt,
    Json,
    Signed,
    /// What the command line says.
    Given,
}

impl Accept {
    pub(crate) fn text(self, options: &Options) -> &str {
        match self {
            Accept::Jwt => "application/jwt",
            Accept::Json => "application/json",
            Accept::Signed => "application/token-introspection+jwt",
            Accept::Given => options.accept.as_deref().unwrap_or_default(),
        }
    }
}

/// What is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum About {
    /// A token that nobody has.
    Invented,
    Token,
    RefreshToken,
}

/// What came of one call.
pub(crate) struct Asked {
    pub(crate) about: About,
    pub(crate) way: Way,
    pub(crate) came: Result<Response, CallError>,
    pub(crate) seen: Seen,
    pub(crate) took: Duration,
    /// It was made on a connection that stood already.
    pub(crate) kept_before: bool,
    /// Its connection may serve another.
    pub(crate) kept_after: bool,
    /// When it ended, in seconds since the Unix epoch.
    pub(crate) now: u64,
}

/// What the module does not look at.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) status: Option<u16>,
    pub(crate) date: Option<SystemTime>,
    pub(crate) location: Option<Zeroizing<Vec<u8>>>,
}

impl Asked {
    /// What the module makes of it, in a location that forwards so.
    pub(crate) fn read(&self, forward: Forward) -> Result<Answer, CallError> {
        let hint = self.way.hint.then_some(HINT.as_bytes());
        let read = |response| answer::read(response, Terms::new(forward, hint), self.now);
        self.came.as_ref().map(read).map_err(|error| *error)
    }

    pub(crate) fn response(&self) -> Option<&Response> {
        self.came.as_ref().ok()
    }
}

/// The endpoint, and the connections to it.
pub(crate) struct Asking<'a> {
    options: &'a Options,
    connections: Arc<Connections>,
    invented: Zeroizing<[u8; question::LEN]>,
}

impl<'a> Asking<'a> {
    pub(crate) fn new(options: &'a Options) -> io::Result<Self> {
        let mut random = [0; question::LEN];
        File::open("/dev/urandom")?.read_exact(&mut random)?;
        let connections = Servers::default().connections(&options.endpoint, &options.tls);
        Ok(Self { options, connections, invented: question::token(&random) })
    }

    /// Asks about one of the three. One that is not there is taken for an invented one.
    pub(crate) fn ask(&self, about: About, way: Way) -> Asked {
        let given = match about {
            About::Invented => None,
            About::Token => self.options.token.as_deref(),
            About::RefreshToken => self.options.refresh_token.as_deref(),
        };
        let token = given.map_or(&self.invented[..], |token| token);
        let kept_before = self.connections.close_ended(Instant::now()) > 0;
        let began = Instant::now();
        let mut seen = Seen::default();
        let came = self.call(token, way, began).map_err(CallError::Request).and_then(|call| {
            client::introspect_seeing(&call, &mut |head| {
                let date = head.field("date").and_then(|date| std::str::from_utf8(date).ok());
                let location = head.field("location").map(|field| Zeroizing::new(field.to_vec()));
                seen = Seen {
                    status: Some(head.status()),
                    date: date.and_then(|date| httpdate::parse_http_date(date).ok()),
                    location,
                };
            })
        });
        let took = began.elapsed();
        let kept_after = self.connections.close_ended(Instant::now()) > 0;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        Asked { about, way, came, seen, took, kept_before, kept_after, now }
    }

    fn call(&self, token: &[u8], way: Way, began: Instant) -> Result<Call, RequestCause> {
        let Options { client_id, secret, .. } = self.options;
        let id = client_id.as_deref().unwrap_or_default().as_bytes();
        let secret = secret.as_ref().map_or(&[][..], |secret| &secret.bytes);
        let authorization = match way.auth {
            ClientAuth::Basic => Some(form::basic(id, secret)),
            ClientAuth::BasicRaw => {
                Some(form::basic_raw(id, secret).map_err(|_| RequestCause::Header)?)
            }
            _ => None,
        };
        let mut params: Vec<(&[u8], &[u8])> = Vec::new();
        if way.hint {
            params.push((b"token_type_hint", HINT.as_bytes()));
        }
        match way.auth {
            ClientAuth::Post => {
                params.extend([(&b"client_id"[..], id), (&b"client_secret"[..], secret)]);
            }
            auth if auth.signs() => {
                let own = client::assertion_params(id);
                params.extend(own.map(|(name, value)| (name.as_bytes(), value)));
            }
            ClientAuth::None if !id.is_empty() => params.push((CLIENT_ID.as_bytes(), id)),
            _ => {}
        }
        let given = self.options.params.iter();
        params.extend(given.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        let no_memory = |_| RequestCause::NoMemory;
        let same = form::introspection_body(token, params).map_err(no_memory)?;
        let timeout = self.options.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let once = self.options.once.clone().filter(|_| way.auth.signs());
        Ok(Call {
            endpoint: self.options.endpoint.clone(),
            connections: self.connections.clone(),
            count: None,
            common: Common::new(authorization, way.accept.text(self.options).as_bytes())?,
            headers: Vec::new(),
            body: Body::new(same, once),
            deadline: began + timeout,
            connect_timeout: timeout,
        })
    }
}
