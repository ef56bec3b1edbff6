//! Files the configuration names: certificates, keys, secrets. All are read while the
//! configuration is, as the user NGINX starts as.

use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::rc::Rc;

use phantom_token_engine::directive;
use phantom_token_engine::jose::key::{self, Key, KeyError};
use zeroize::Zeroizing;

use crate::conf::settings::nonempty;
use crate::nginx::parser::{Cf, ConfError};

/// The longest PEM file read, in bytes: a whole system's root store has a few hundred kilobytes.
const MAX_PEM_FILE: usize = 8 * 1024 * 1024;

/// The longest file of one key, in bytes: text may stand around it.
const MAX_KEY_FILE: usize = 64 * 1024;

/// A PEM file as it was when the configuration was read.
#[derive(PartialEq, Eq)]
pub(crate) struct PemFile {
    pub(crate) path: String,
    pub(crate) bytes: Zeroizing<Vec<u8>>,
}

impl PemFile {
    /// The file at `path`, read once for all directives that name it.
    pub(crate) fn read(cf: &mut Cf<'_>, path: &[u8]) -> Result<Rc<Self>, ConfError> {
        let path = full_name(cf, path)?;
        if let Some(known) = cf.main_conf().pem_files.iter().find(|known| known.path == path) {
            return Ok(known.clone());
        }
        let bytes = read(&path, MAX_PEM_FILE)?;
        let file = Rc::new(Self { path, bytes });
        cf.main_conf().pem_files.push(file.clone());
        Ok(file)
    }
}

/// The path of a file that a directive names, as NGINX reads it.
pub(super) fn full_name(cf: &mut Cf<'_>, path: &[u8]) -> Result<String, ConfError> {
    nonempty(path)?;
    cf.full_name(path)
}

/// The key in the file at `path`, private or public, read once for all directives that name it. Warns
/// where everybody may read a private one.
pub(crate) fn key(cf: &mut Cf<'_>, path: &str) -> Result<Key, ConfError> {
    if let Some((_, known)) = cf.main_conf().keys.iter().find(|(known, _)| known == path) {
        return Ok(known.clone());
    }
    let bytes = read(path, MAX_KEY_FILE)?;
    let key = key::read(&bytes).map_err(|error| unfit_key(path, error))?;
    if matches!(key, Key::Private(_)) && is_readable_by_all(path) {
        cf.warn_here(key_is_readable(path));
    }
    cf.main_conf().keys.push((path.to_owned(), key.clone()));
    Ok(key)
}

/// Why the file at `path` does not do as the key that a directive wants.
pub(crate) fn unfit_key(path: &str, error: KeyError) -> ConfError {
    ConfError::Directive(format!("names \"{path}\": {error}"))
}

/// Reads a file of a key that is no JOSE key; warns where everybody may read it.
pub(crate) fn read_key(
    cf: &mut Cf<'_>,
    path: &str,
    most: usize,
) -> Result<Zeroizing<Vec<u8>>, ConfError> {
    let bytes = read(path, most)?;
    if is_readable_by_all(path) {
        cf.warn_here(key_is_readable(path));
    }
    Ok(bytes)
}

fn key_is_readable(path: &str) -> String {
    format!("the key file \"{path}\" is readable by all: chmod o-r it")
}

/// Reads a file that holds a secret; warns where everybody may read it.
pub(crate) fn read_secret(
    cf: &mut Cf<'_>,
    path: &str,
    most: usize,
) -> Result<Zeroizing<Vec<u8>>, ConfError> {
    let bytes = read(path, most)?;
    if is_readable_by_all(path) {
        cf.warn_here(format_args!("the secret file \"{path}\" is readable by all: chmod o-r it"));
    }
    Ok(bytes)
}

fn is_readable_by_all(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o004 != 0)
}

fn read(path: &str, most: usize) -> Result<Zeroizing<Vec<u8>>, ConfError> {
    let failed = |error: std::io::Error| {
        let write = match error.kind() {
            ErrorKind::NotFound if directive::seems_variable(path.as_bytes()) => {
                "it takes no variables; write the path itself"
            }
            ErrorKind::NotFound => {
                "write a path that is there; it begins beside nginx.conf or with /"
            }
            ErrorKind::PermissionDenied => "let whoever starts NGINX read it, or write another",
            ErrorKind::IsADirectory => "write the path of a file in it",
            _ => "write the path of a file that can be",
        };
        ConfError::Directive(format!(
            "names a file that cannot be read \"{path}\": {error}: {write}"
        ))
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    // Room for all of it at once: a grown vector would leave copies behind that nobody wipes.
    let size = file.metadata().map_err(failed)?.len().min(most as u64) as usize;
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 2));
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > most {
        return Err(ConfError::Directive(format!(
            "names a file over {most} bytes \"{path}\": write the path of another"
        )));
    }
    Ok(bytes)
}
