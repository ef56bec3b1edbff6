//! The client's id and secret: from the configuration or from a file, checked as text.

use std::rc::Rc;

use phantom_token_engine::directive::credential::{self, Error, MAX_LEN};
use zeroize::Zeroizing;

use crate::conf::directives::Args;
use crate::conf::{LocConf, Secret, pem};
use crate::nginx::parser::{Cf, ConfError};

/// The longest file of a secret, in bytes: a line end besides.
const MAX_FILE: usize = MAX_LEN + 2;

/// Checks an id or a secret as it is written.
pub(super) fn check(cf: &mut Cf<'_>, directive: &str, value: &[u8]) -> Result<(), ConfError> {
    credential::check(value).map_err(|error| match error {
        Error::Empty => ConfError::directive("has an empty value"),
        _ => ConfError::Directive(format!(
            "has a value that {error}: write it as the authorization server shows it"
        )),
    })?;
    if value.ends_with(b" ") {
        let place = cf.line();
        cf.warn_once(format!(
            "\"{directive}\" ends in a blank, which is taken for a part of it, in {place}"
        ));
    }
    Ok(())
}

/// `phantom_token_client_secret`.
pub(super) fn secret(cf: &mut Cf<'_>, conf: &mut LocConf, args: Args<'_>) -> Result<(), ConfError> {
    check(cf, "phantom_token_client_secret", args[0])?;
    let bytes = Zeroizing::new(args[0].to_vec());
    cf.wipe_arg(0);
    set(conf, bytes)
}

/// `phantom_token_client_secret_file`.
pub(super) fn secret_file(
    cf: &mut Cf<'_>,
    conf: &mut LocConf,
    args: Args<'_>,
) -> Result<(), ConfError> {
    let path = cf.full_name(args[0])?;
    let mut bytes = pem::read_secret(cf, &path, MAX_FILE)?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    credential::check(&bytes).map_err(|error| {
        ConfError::Directive(format!(
            "names a file whose secret {error} \"{path}\": write it as one line of UTF-8, and nothing else"
        ))
    })?;
    if bytes.ends_with(b" ") {
        cf.warn_once(format!(
            "the secret file \"{path}\" ends in a blank, which is taken for a part of the secret"
        ));
    }
    set(conf, bytes)
}

fn set(conf: &mut LocConf, bytes: Zeroizing<Vec<u8>>) -> Result<(), ConfError> {
    if conf.client_secret.is_some() {
        return Err(ConfError::directive(
            "is a second secret on this level: keep one of phantom_token_client_secret and phantom_token_client_secret_file",
        ));
    }
    conf.client_secret = Some(Rc::new(Secret { bytes }));
    Ok(())
}
