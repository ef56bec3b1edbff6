//! The JWT that the gateway makes of an active answer (`phantom_token_forward mint`).

use zeroize::Zeroizing;

use crate::answer::Answer;
use crate::answer::grant::Grant;
use crate::answer::json::{self, Object};
use crate::answer::stated::{Stated, Verdict};
use crate::answer::{Cause, NoVerdict, jwt};
use crate::jose::key::SigningKey;
use crate::jose::mint::{self, Minted, Terms};
use crate::wipe::wipe_vec;

/// What makes the JWTs of a location.
#[derive(Debug)]
pub struct Minter {
    /// What they say.
    pub terms: Terms,
    /// The key that signs them.
    pub key: SigningKey,
}

impl Minter {
    /// Gives an active answer a JWT of the gateway's own in place of the server's, and its `exp`, which
    /// is never later than the token's. `now` is in seconds since the Unix epoch.
    pub(super) fn apply(&self, answer: Answer, now: u64) -> Answer {
        let Answer::Active(mut grant) = answer else { return answer };
        match self.mint(&mut grant, now) {
            Ok(()) => Answer::Active(grant),
            Err(failure) => Answer::Failed(failure),
        }
    }

    fn mint(&self, grant: &mut Grant, now: u64) -> Result<(), NoVerdict> {
        let Self { terms, key } = self;
        // What is dropped may say more than the answer.
        let claims = match grant.jwt.is_empty() {
            true => None,
            false => Some(all_claims(&grant.claims, &grant.jwt)?),
        };
        let minted = mint::mint(terms, key, &grant.claims, &grant.jwt, grant.exp, now)?;
        if let Some(mut claims) = claims {
            wipe_vec(&mut grant.claims);
            grant.claims = std::mem::take(&mut claims);
        }
        wipe_vec(&mut grant.jwt);
        grant.is_endless = grant.exp.is_none();
        let Minted { jwt, exp, signer } = minted;
        (grant.jwt, grant.exp, grant.signer) = (jwt, Some(exp), Some(signer));
        Ok(())
    }
}

/// The claims of an answer and of the JWT that came with it, as one JSON object: what both have, as the
/// answer has it.
///
/// # Errors
/// They name two issuers: which of them the token is from cannot be said without the JWT.
fn all_claims(answer: &[u8], jwt: &[u8]) -> Result<Zeroizing<Vec<u8>>, Cause> {
    if Stated::read(answer, jwt).issuer(|_| true) == Verdict::Contradiction {
        return Err(Cause::Issuers);
    }
    let Some(payload) = jwt::payload_of_checked(jwt) else {
        return Ok(answer.to_vec().into());
    };
    let (of_answer, of_jwt) = (Object::of_checked(answer), Object::of_checked(&payload));
    let (Some(of_answer), Some(of_jwt)) = (of_answer, of_jwt) else {
        return Ok(payload.clone());
    };
    let is_there = |name| of_answer.get(name).is_some_and(|value| !value.is_null());
    let mut out = Zeroizing::new(Vec::with_capacity(answer.len() + payload.len()));
    let own = of_answer.members().filter(|(_, value)| !value.is_null());
    let more = of_jwt.members().filter(|(name, _)| !is_there(name));
    for (name, value) in own.chain(more) {
        let before = if out.is_empty() { b'{' } else { b',' };
        out.push(before);
        json::write_string(&mut out, name);
        out.push(b':');
        value.write_compact(&mut out);
    }
    if out.is_empty() {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(out)
}

#[cfg(test)]
mod tests;
