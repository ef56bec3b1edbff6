//! JWTs that the gateway signs for servers that give none (`phantom_token_forward mint`).

mod anew;
mod answers;
mod hostile;
mod identity;
mod keys;
mod lifetimes;
mod refresh;
mod rotation;
mod support;
