//! `phantom_token_require`: what a token must be good for besides.

mod claims;
mod configuration;
mod example;
