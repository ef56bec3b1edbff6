//! Settings inherit one by one: what is a secret between one server and its client may go to another.

use std::rc::Rc;

use crate::conf::endpoints;
use crate::conf::introspection::Server;
use crate::conf::settings::{Location, Place};
use crate::nginx::parser::{Cf, ConfigLine};

/// What belongs to one server.
const OWNED: [&str; 4] = [
    "phantom_token_client_secret",
    "phantom_token_ssl_certificate",
    "phantom_token_ssl_certificate_key",
    "phantom_token_ssl_trusted_certificate",
];

/// The endpoints in force where each of [`OWNED`] was written; `None`: there was none.
#[derive(Clone, Default)]
pub(super) struct WrittenFor([Option<endpoints::Settings>; OWNED.len()]);

/// Where each of [`OWNED`] stands; `None`: nowhere.
fn places(server: &Server) -> [Option<&ConfigLine>; OWNED.len()] {
    let [certificate, key, trusted] = server.tls.places();
    [server.credentials.secret_place(), certificate, key, trusted]
}

impl WrittenFor {
    /// On a level with these settings of its own, which had `endpoints` in force.
    pub(super) fn of(own: &Server, endpoints: &endpoints::Settings) -> Self {
        Self(places(own).map(|place| place.and_then(|_| endpoints.some())))
    }

    /// What is not written on this level is as on the outer one.
    pub(super) fn inherit(&mut self, own: &Server, outer: &Self) {
        for ((written, place), outer) in self.0.iter_mut().zip(places(own)).zip(&outer.0) {
            if place.is_none() {
                written.clone_from(outer);
            }
        }
    }

    /// Warns of what was written for other servers than those it is used for.
    pub(super) fn warn(&self, cf: &mut Cf<'_>, server: &Rc<Server>, location: &Location) {
        let place = Place::Location(location.clone());
        for (nth, (written_for, line)) in self.0.iter().zip(places(server)).enumerate() {
            let (Some(written_for), Some(line)) = (written_for, line) else { continue };
            // A secret goes wherever it is sent, and TLS settings where there is TLS.
            let counts =
                |https: bool| if nth == 0 { server.credentials.sends_secret() } else { https };
            let Some((other, other_line)) = server.endpoints.foreign_to(written_for, counts) else {
                continue;
            };
            cf.warn_at(
                line,
                format_args!(
                    "\"{}\" was written for another server than \"{other}\" of {other_line}, and goes there too, {place}: write it beside that endpoint as well, or say each server in a phantom_token_provider",
                    OWNED[nth]
                ),
            );
        }
    }
}
