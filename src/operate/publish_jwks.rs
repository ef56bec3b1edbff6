//! `phantom_token_publish_jwks`: the public keys by which APIs verify what the gateway signs.

use phantom_token_engine::jose::jwks;

use crate::conf::LocConf;
use crate::nginx::handlers::Handler;
use crate::nginx::reply;
use crate::nginx::request::{NoMemory, Request};
use crate::nginx::sys::*;

/// For so long an API may rely on the set it has. Rotations wait for that.
const CACHE_CONTROL: &[u8] = b"public, max-age=300";

/// The content handler of the key set.
pub(crate) struct PublishJwksHandler;

impl Handler for PublishJwksHandler {
    const WHAT: &'static str = "the key set's handler";

    fn handle(r: Request) -> Result<ngx_int_t, NoMemory> {
        r.show(show)
    }
}

fn show(r: Request) -> Result<ngx_int_t, NoMemory> {
    // It is made where the configuration is merged.
    let Some(set) = &LocConf::of(r).key_set else { return Ok(INTERNAL_SERVER_ERROR) };
    let content_type = jwks::CONTENT_TYPE.as_bytes();
    reply::send_document(r, content_type, CACHE_CONTROL, set.etag.as_bytes(), &set.document)
}
