//! The fleet's keys (`phantom_token_key_file`): the same files on all its gateways.

use std::sync::Arc;

use phantom_token_engine::store::keys::{FleetKeys, KeyError, MIN_LEN};
use phantom_token_engine::token::key::HashKey;
use zeroize::Zeroizing;

use crate::conf::files;
use crate::conf::settings::M;
use crate::nginx::command::Command;
use crate::nginx::parser::ConfError;
use crate::nginx::sys::*;

pub(super) const KEY_FILE: &str = "phantom_token_key_file";

/// The longest file of a key, in bytes.
const MAX_FILE: usize = 4096;

/// What the whole `http` block has of them.
#[derive(Default)]
pub(crate) struct Main {
    /// In the order they are named: the first is in force.
    files: Vec<File>,
    /// What is derived from all of them; `None` where there is none.
    keys: Option<Arc<FleetKeys>>,
}

struct File {
    path: String,
    bytes: Zeroizing<Vec<u8>>,
}

impl Main {
    pub(crate) fn keys(&self) -> Option<&Arc<FleetKeys>> {
        self.keys.as_ref()
    }

    /// The keys of hashes, the one in force first.
    pub(crate) fn hash_keys(&self) -> impl Iterator<Item = HashKey> {
        self.keys.iter().flat_map(|keys| keys.all().iter().map(|key| *key.hash_key()))
    }

    /// Once all files are read: keeps what is derived from them and nothing else.
    pub(crate) fn forget_files(&mut self) {
        self.files = Vec::new();
    }

    fn add(&mut self, path: String, bytes: Zeroizing<Vec<u8>>) -> Result<(), ConfError> {
        self.files.push(File { path, bytes });
        let contents: Vec<&[u8]> = self.files.iter().map(|file| &file.bytes[..]).collect();
        let path = |nth: usize| self.files.get(nth).map_or("", |file| &file.path);
        let keys = FleetKeys::new(&contents).map_err(|error| match error {
            KeyError::Twice(one, other) => ConfError::Directive(format!(
                "names the key of \"{}\" a second time with \"{}\": name each key once, the one in force first",
                path(one),
                path(other)
            )),
            KeyError::Short(nth) => ConfError::Directive(format!(
                "names a file under {MIN_LEN} bytes \"{}\": write the key of \"openssl rand -base64 32\" into it, the same on all gateways",
                path(nth)
            )),
            KeyError::None => ConfError::directive("names no key: write the path of its file"),
        })?;
        self.keys = Some(Arc::new(keys));
        Ok(())
    }
}

pub(super) const COMMANDS: &[Command<Main>] =
    &[Command::new(c"phantom_token_key_file", M | NGX_CONF_TAKE1, "FILE", |cf, main, args| {
        let path = files::full_name(cf, args[0])?;
        let bytes = files::read_key(cf, &path, MAX_FILE)?;
        main.add(path, bytes)
    })];
