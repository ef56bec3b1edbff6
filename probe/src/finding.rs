//! In which order the server is asked: few calls, and as few as can be that it may refuse.

use std::io;

use phantom_token_engine::answer::nature::TokenKind;
use phantom_token_engine::answer::{Answer, Cause, Forward, NoVerdict};
use phantom_token_engine::client::{CallError, ClientAuth};
use phantom_token_engine::http::form;

use crate::asking::{About, Accept, Asked, Asking, Way};
use crate::options::Options;

/// How many calls are made, at most.
const MAX_CALLS: usize = 9;

/// After how many calls that the server refuses, and may count, no other is made.
const MAX_REFUSED: usize = 3;

/// What was found out.
pub(crate) struct Found {
    /// How the server is to be asked, as far as it is known.
    pub(crate) way: Way,
    /// The call that it is known by.
    pub(crate) verdict: Verdict,
    pub(crate) calls: usize,
    /// What was asked on the way to it, the last first of its kind.
    pub(crate) invented: Option<Asked>,
    pub(crate) refresh: Option<Refresh>,
}

/// What the server makes of the client and its token.
pub(crate) enum Verdict {
    /// The token is active, and answered so that the module goes on.
    Works { asked: Asked, forward: Forward },
    /// The server takes the client; no token was given.
    NoToken,
    /// It does not work: what was asked last.
    Not { asked: Asked, why: Why },
}

/// Why it does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// There was no answer.
    NoAnswer(CallError),
    /// An answer that says nothing about the token.
    NoVerdict(NoVerdict),
    /// The server calls a token active that nobody has.
    AllActive,
    /// It calls the token inactive.
    Inactive,
    /// It calls it active, and it has expired by this machine's clock, so many seconds ago.
    Expired(u64),
    /// It names another kind of token.
    Kind,
}

/// What the server makes of a refresh token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// Inactive.
    Inactive,
    /// Active, and expired by its "exp".
    Expired,
    /// Active, and named as no access token.
    Named,
    /// Active without a kind, while access tokens have one.
    Unnamed,
    /// Active, and not to be told from an access token.
    Passes,
    /// No answer that says anything.
    Unknown,
}

struct Search<'a, F> {
    options: &'a Options,
    asking: Asking<'a>,
    tell: F,
    calls: usize,
    refused: usize,
}

/// Asks until it is known how to ask, or that it does not work. `tell` is told of each call as it ends.
///
/// # Errors
/// Those of `tell`, and where the system gives no random bytes.
pub(crate) fn find(
    options: &Options,
    tell: impl FnMut(usize, &Asked) -> io::Result<()>,
) -> io::Result<Found> {
    let asking = Asking::new(options)?;
    let mut search = Search { options, asking, tell, calls: 0, refused: 0 };
    let found = search.run()?;
    Ok(Found { calls: search.calls, ..found })
}

impl<F: FnMut(usize, &Asked) -> io::Result<()>> Search<'_, F> {
    fn ask(&mut self, about: About, way: Way) -> io::Result<Asked> {
        self.calls += 1;
        let asked = self.asking.ask(about, way);
        // Some servers call credentials a bad request.
        if let Ok(Answer::Failed(NoVerdict::Credentials(_) | NoVerdict::Status(400))) =
            asked.read(Forward::None)
        {
            self.refused += 1;
        }
        (self.tell)(self.calls, &asked)?;
        Ok(asked)
    }

    fn may_ask(&self) -> bool {
        self.calls < MAX_CALLS && self.refused < MAX_REFUSED
    }

    fn run(&mut self) -> io::Result<Found> {
        let (way, invented, why) = self.settle()?;
        let found = |way, verdict| Found { way, verdict, calls: 0, invented: None, refresh: None };
        if let Some(why) = why {
            return Ok(found(way, Verdict::Not { asked: invented, why }));
        }
        let with = |found: Found, invented| Found { invented: Some(invented), ..found };
        if self.options.token.is_none() {
            return Ok(with(found(way, Verdict::NoToken), invented));
        }
        let (way, verdict) = self.token(way)?;
        let Verdict::Works { asked, .. } = &verdict else {
            return Ok(with(found(way, verdict), invented));
        };
        let named = kind(asked) == TokenKind::Named;
        // The invented token is asked about as the good one is.
        let invented = match way == invented.way || !self.may_ask() {
            true => invented,
            false => self.ask(About::Invented, way)?,
        };
        if let Ok(Answer::Active(_)) = invented.read(Forward::None) {
            let verdict = Verdict::Not { asked: invented, why: Why::AllActive };
            return Ok(found(way, verdict));
        }
        let refresh = match self.options.refresh_token.is_some() && self.may_ask() {
            true => Some(refresh(&self.ask(About::RefreshToken, way)?, named)),
            false => None,
        };
        Ok(Found { refresh, ..with(found(way, verdict), invented) })
    }

    /// Asks about an invented token until that is inactive: then URL, TLS and client are right.
    fn settle(&mut self) -> io::Result<(Way, Asked, Option<Why>)> {
        let mut way = Way { auth: self.auths()[0], accept: self.accepts()[0], hint: true };
        let mut tried = Vec::new();
        loop {
            let asked = self.ask(About::Invented, way)?;
            let why = match asked.read(Forward::None) {
                Ok(Answer::Inactive(_)) => return Ok((way, asked, None)),
                Ok(Answer::Active(_)) => return Ok((way, asked, Some(Why::AllActive))),
                Ok(Answer::Failed(failure)) => Why::NoVerdict(failure),
                Err(error) => Why::NoAnswer(error),
            };
            tried.push(way);
            let next = self.others(way, why).into_iter().find(|other| !tried.contains(other));
            match next.filter(|_| self.may_ask()) {
                Some(next) => way = next,
                None => return Ok((way, asked, Some(why))),
            }
        }
    }

    /// How else to ask a server that answers so.
    fn others(&self, way: Way, why: Why) -> Vec<Way> {
        let accepts = self.accepts();
        let with_accept = |accept: &Accept| Way { accept: *accept, ..way };
        match why {
            Why::NoVerdict(NoVerdict::Credentials(_)) => {
                self.auths().into_iter().map(|auth| Way { auth, ..way }).collect()
            }
            // The media type; or credentials that the server cannot decode.
            Why::NoVerdict(NoVerdict::Status(400)) => {
                let raw = self.raw().map(|auth| Way { auth, accept: accepts[0], ..way });
                let mut ways: Vec<_> = accepts.iter().map(with_accept).collect();
                ways.splice(ways.len().min(2)..ways.len().min(2), raw);
                ways
            }
            Why::NoVerdict(NoVerdict::Status(405 | 406 | 415) | NoVerdict::NotUnderstood(_)) => {
                accepts.iter().map(with_accept).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The media types that may be asked for, in the order in which they are tried.
    fn accepts(&self) -> Vec<Accept> {
        match self.options.accept {
            Some(_) => vec![Accept::Given],
            None => vec![Accept::Jwt, Accept::Json, Accept::Signed],
        }
    }

    /// The ways in which the client may authenticate, in the order in which they are tried.
    fn auths(&self) -> Vec<ClientAuth> {
        if let Some(auth) = self.options.client_auth {
            return vec![auth];
        }
        let mut auths = vec![ClientAuth::Basic];
        auths.extend(self.raw());
        // A parameter of the same name would be sent twice.
        let is_own =
            |(name, _): &(String, String)| ClientAuth::Post.own_params().contains(&&**name);
        if !self.options.params.iter().any(is_own) {
            auths.push(ClientAuth::Post);
        }
        auths
    }

    /// Basic credentials as they are, where that differs.
    fn raw(&self) -> Option<ClientAuth> {
        let Options { client_id, secret, client_auth, .. } = self.options;
        let (id, secret) = (client_id.as_deref()?.as_bytes(), secret.as_ref()?);
        let differs = form::encoding_changes(id, &secret.bytes) && !id.contains(&b':');
        (client_auth.is_none() && differs).then_some(ClientAuth::BasicRaw)
    }

    /// Asks about the token until it is active.
    fn token(&mut self, way: Way) -> io::Result<(Way, Verdict)> {
        let first = self.ask(About::Token, way)?;
        let why = match judged(&first) {
            Ok(forward) => return self.better(first, forward),
            Err(why) => why,
        };
        let others = match why {
            // A wrong secret, or a hint that is not understood, may be answered so.
            Why::Inactive => {
                let raw = self.raw().filter(|_| way.auth == ClientAuth::Basic);
                let raw = raw.map(|auth| Way { auth, ..way });
                raw.into_iter().chain([Way { hint: false, ..way }]).collect()
            }
            // The client is known to be taken.
            Why::NoVerdict(NoVerdict::Credentials(_)) => Vec::new(),
            _ => self.others(way, why),
        };
        for other in others.into_iter().filter(|other| *other != way) {
            if !self.may_ask() {
                break;
            }
            let asked = self.ask(About::Token, other)?;
            if let Ok(forward) = judged(&asked) {
                return self.better(asked, forward);
            }
        }
        Ok((way, Verdict::Not { asked: first, why }))
    }

    /// Asks for the other media type where no JWT came for one. JSON is asked for where none comes at all:
    /// that is what is given.
    fn better(&mut self, asked: Asked, forward: Forward) -> io::Result<(Way, Verdict)> {
        let way = asked.way;
        let accept = match (forward, way.accept) {
            (Forward::None, Accept::Jwt) => Accept::Json,
            // An invented token was not inactive when a JWT was asked for.
            (Forward::None, Accept::Json) => Accept::Jwt,
            _ => return Ok((way, Verdict::Works { asked, forward })),
        };
        if self.may_ask() {
            let other = Way { accept, ..way };
            let again = self.ask(About::Token, other)?;
            match judged(&again) {
                Ok(forward) if forward == Forward::Jwt || accept == Accept::Json => {
                    return Ok((other, Verdict::Works { asked: again, forward }));
                }
                _ => {}
            }
        }
        Ok((way, Verdict::Works { asked, forward }))
    }
}

/// How the module goes on with what came about the good token; `Err`: not at all.
fn judged(asked: &Asked) -> Result<Forward, Why> {
    let read = |forward| match asked.read(forward) {
        Ok(Answer::Active(_)) => Ok(forward),
        Ok(Answer::Inactive(None)) => Err(Why::Inactive),
        Ok(Answer::Inactive(Some(skew))) => Err(Why::Expired(skew.0)),
        Ok(Answer::Failed(failure)) => Err(Why::NoVerdict(failure)),
        Err(error) => Err(Why::NoAnswer(error)),
    };
    let forward = match read(Forward::Jwt) {
        Err(Why::NoVerdict(NoVerdict::NotUnderstood(
            Cause::NoJwt | Cause::IntrospectionAnswer,
        ))) => read(Forward::None),
        other => other,
    }?;
    match kind(asked) {
        TokenKind::Other => Err(Why::Kind),
        _ => Ok(forward),
    }
}

/// What kind of token the answer names.
pub(crate) fn kind(asked: &Asked) -> TokenKind {
    match asked.read(Forward::None) {
        Ok(Answer::Active(grant)) => grant.nature.kind,
        _ => TokenKind::Unnamed,
    }
}

/// What the server makes of the refresh token, where access tokens are `named`, or are not.
fn refresh(asked: &Asked, named: bool) -> Refresh {
    match (asked.read(Forward::None), kind(asked)) {
        (Ok(Answer::Inactive(None)), _) => Refresh::Inactive,
        (Ok(Answer::Inactive(Some(_))), _) => Refresh::Expired,
        (Ok(Answer::Active(_)), TokenKind::Other) => Refresh::Named,
        (Ok(Answer::Active(_)), TokenKind::Unnamed) if named => Refresh::Unnamed,
        (Ok(Answer::Active(_)), _) => Refresh::Passes,
        _ => Refresh::Unknown,
    }
}
