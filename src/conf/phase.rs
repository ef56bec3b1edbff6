//! In which of NGINX's phases tokens are judged.

use core::ffi::CStr;

use crate::conf::settings::{Location, Setting};
use crate::nginx::parser::{Cf, ConfError};

/// `phantom_token_phase`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// After `allow` and `deny`.
    Access,
    /// Before `limit_req` and `limit_conn`, whose keys may then hold what is known of the token.
    Preaccess,
}

/// The module whose handler judges before the limits.
const OWN: &CStr = c"ngx_http_phantom_token_preaccess_module";

/// Those whose handlers must run after it.
const LIMITS: [&CStr; 2] = [c"ngx_http_limit_req_module", c"ngx_http_limit_conn_module"];

/// It says who the client is, to limits and to expressions.
const REAL_IP: &CStr = c"ngx_http_realip_module";

impl Phase {
    /// At the end of a location that is on: checks that its tokens can be judged where it says.
    pub(super) fn of(
        cf: &mut Cf<'_>,
        setting: &Setting<Self>,
        location: &Location,
    ) -> Result<Self, ConfError> {
        let Some(placed) = setting.placed().filter(|placed| placed.value == Self::Preaccess) else {
            return Ok(Self::Access);
        };
        let line = &placed.line;
        if cf.satisfies_any() {
            return Err(ConfError::at(
                line,
                format_args!(
                    "\"phantom_token_phase preaccess\" cannot stand beside \"satisfy any\" {location}: what it refuses, nobody is asked about; write \"satisfy all\" or \"phantom_token_phase access\""
                ),
            ));
        }
        if cf.delays_auth() {
            cf.warn_at(
                line,
                format_args!(
                    "\"auth_delay\" does not delay what \"phantom_token_phase preaccess\" refuses {location}"
                ),
            );
        }
        cf.main_conf().preaccess.get_or_insert_with(|| line.clone());
        Ok(Self::Preaccess)
    }
}

impl Cf<'_> {
    /// At the end of the configuration: whether some location's tokens are judged before the limits.
    ///
    /// # Errors
    /// Where the modules of this NGINX stand in another order, and limits would limit nobody.
    pub(crate) fn judges_before_limits(&mut self) -> Result<bool, ConfError> {
        let Some(line) = self.main_conf().preaccess.clone() else { return Ok(false) };
        let own = self.place_of_module(OWN);
        let limits = LIMITS.iter().map(|limit| (limit, self.place_of_module(limit) < own));
        let real_ip = [(&REAL_IP, self.place_of_module(REAL_IP).is_none_or(|p| Some(p) > own))];
        match limits.chain(real_ip).find(|(_, in_order)| !in_order) {
            None => Ok(true),
            Some((module, _)) => Err(ConfError::at(
                &line,
                format_args!(
                    "\"phantom_token_phase preaccess\" cannot be had: this NGINX has \"{}\" on the wrong side of the module, and limits would limit nobody; write \"phantom_token_phase access\"",
                    module.to_string_lossy()
                ),
            )),
        }
    }
}
