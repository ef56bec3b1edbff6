//! JWTs that the gateway signs for servers that give none (`phantom_token_forward mint`), and by what they are
//! verified.

mod anew;
mod answers;
mod configuration;
mod hostile;
mod identity;
mod jose_clients;
mod keys;
mod lifetimes;
mod publish_jwks;
mod refresh;
mod rotation;
mod support;
