//! JOSE: keys, and what the gateway signs with them (RFC 7515, RFC 7517, RFC 7518).
//!
//! The gateway signs two things: a JWT for the API, from an introspection answer ([`mint`]), and
//! the assertion by which it authenticates to the authorization server ([`assertion`]). It
//! publishes public keys ([`jwks`]). Keys come from PEM files ([`key`]). Time is passed in.
//!
//! All arithmetic and all randomness come from one file, `primitives`, the only one that names the
//! crate behind it.

#![forbid(unsafe_code)]

pub mod algorithm;
pub mod assertion;
mod der;
mod encoding;
mod jwk;
pub mod jwks;
pub mod key;
mod material;
pub mod mint;
mod pem;
pub(crate) mod primitives;
pub mod sign;

#[cfg(test)]
mod tests;
