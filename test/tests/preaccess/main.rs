//! `phantom_token_phase preaccess`: tokens judged before the limits of NGINX.

mod configuration;
mod limits;
mod passes;
mod waiting;
