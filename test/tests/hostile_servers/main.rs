//! An authorization server that breaks, floods, lies or has another clock: whatever it does, nobody
//! is let in who was not, and nobody gets another's JWT.
//!
//! `PHANTOM_TOKEN_LIES` says how many answers the lying server gives, 1,500 as it comes;
//! `PHANTOM_TOKEN_CUT_STEP` at every how many bytes TLS is cut, 29 as it comes;
//! `PHANTOM_TOKEN_SEED` seeds what is random.

mod certificates;
mod clock;
mod corpus;
mod cut;
mod endless;
mod garbage;
mod liar;
mod support;
