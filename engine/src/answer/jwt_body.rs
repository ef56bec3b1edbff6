//! `application/jwt`: the body is the phantom token, or an introspection answer as the drafts before
//! RFC 9701 had it, which is enough where no JWT of the server is forwarded.

use crate::answer::cause::Cause;
use crate::answer::grant::{Grant, Judged};
use crate::answer::json_body;
use crate::answer::jwt::Compact;
use crate::answer::subjects::Named;
use crate::answer::terms::{Forward, Terms};

pub(super) fn read(body: &[u8], terms: Terms) -> Result<Judged, Cause> {
    let compact = Compact::decode(body)?;
    if compact.says_inactive() {
        return Ok(Judged::Inactive);
    }
    if compact.is_introspection() {
        return match terms.forward {
            Forward::Jwt => Err(Cause::IntrospectionAnswer),
            Forward::None | Forward::Mint => json_body::of(&compact.introspection()?, terms),
        };
    }
    let jwt = compact.phantom_token()?;
    Ok(Judged::Active(Grant {
        jwt: body.to_vec(),
        scope: jwt.scope()?.unwrap_or_default(),
        claims: Vec::new(),
        exp: jwt.exp()?,
        nature: jwt.nature()?,
        is_endless: false,
        signer: None,
        subjects: terms.subjects(&Named::default(), &jwt.named()),
    }))
}
