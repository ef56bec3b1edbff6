//! The call that asks an endpoint about a token, as a location has it asked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use phantom_token_engine::answer::Terms;
use phantom_token_engine::client::{Body, Call};
use phantom_token_engine::http::form as body;
use phantom_token_engine::memory::{self, NoMemory};
use phantom_token_engine::shared::counters::ConnectionCount;
use phantom_token_engine::shared::health::form::Form;
use phantom_token_engine::token::key::HashKey;

use crate::conf::Policy;
use crate::conf::endpoints::PolicyEndpoint;
use crate::conf::request::Extra;
use crate::conf::request::Values;

/// What is asked, beside what the policy says.
pub(crate) struct About<'a> {
    pub(crate) token: &'a [u8],
    /// Values of the policy's extra headers and parameters, in their order.
    pub(crate) headers: &'a Values,
    pub(crate) params: &'a Values,
    /// Where the call's connection is counted.
    pub(crate) count: Option<&'static ConnectionCount>,
    /// In which form Basic credentials are sent.
    pub(crate) form: Form,
    /// When the call must be over.
    pub(crate) deadline: Instant,
    /// How long it may take to connect.
    pub(crate) connect_timeout: Duration,
}

/// Makes the call.
pub(crate) fn make(
    policy: &Policy,
    endpoint: &PolicyEndpoint,
    about: &About<'_>,
) -> Result<Call, NoMemory> {
    let introspection = &policy.introspection;
    let text = |text: &'static str| text.as_bytes();
    // The hint and the client's two besides.
    let mut params: Vec<(&[u8], &[u8])> = memory::with_room(3 + about.params.len())?;
    if let Some(hint) = &introspection.extras.token_type_hint {
        params.push((text("token_type_hint"), hint));
    }
    if let Some(own) = introspection.credentials.in_form() {
        params.extend(own.map(|(name, value)| (text(name), value)));
    }
    for (param, value) in introspection.extras.params.iter().zip(about.params) {
        params.push((param.name.as_bytes(), value));
    }
    let mut headers = memory::with_room(about.headers.len())?;
    for (header, value) in introspection.extras.headers.iter().zip(about.headers) {
        if !value.is_empty() {
            headers.push((header.name.clone(), memory::copied(value)?));
        }
    }
    let common = match (&introspection.credentials.common_raw, about.form) {
        (Some(raw), Form::Raw) => raw,
        _ => &introspection.credentials.common,
    };
    Ok(Call {
        endpoint: Arc::clone(&endpoint.endpoint),
        connections: endpoint.connections.clone(),
        count: about.count,
        common: common.clone(),
        headers,
        body: Body::new(
            body::introspection_body(about.token, params)?,
            introspection.credentials.once(),
        ),
        deadline: about.deadline,
        connect_timeout: about.connect_timeout,
    })
}

/// What its answers are read for: the forward mode, the hint that goes with the token, and the key of
/// all hashes.
pub(crate) fn terms(policy: &Policy, params: &Values, subject_key: HashKey) -> Terms {
    let introspection = &policy.introspection;
    let mut params = introspection.extras.params.iter().zip(params);
    let mut param = || params.find(|(param, _)| &*param.name == "token_type_hint");
    let hint = match &introspection.extras.token_type_hint {
        Some(hint) => Some(&hint[..]),
        None => param().map(|(_, value)| &value[..]),
    };
    Terms::new(policy.forward, hint).naming_subjects(subject_key)
}

/// The values that a call of the gateway's own is made with: never what a client has sent, but for
/// those by which the gate differs from request to request, where they are `given`. Else any client
/// could have it refused. The others are empty.
pub(crate) fn own_values(extras: &[Extra], given: Option<&Values>) -> Result<Values, NoMemory> {
    let mut values = memory::with_room(extras.len())?;
    for (nth, extra) in extras.iter().enumerate() {
        let given = given.filter(|_| extra.keyed).and_then(|given| given.get(nth));
        let value = extra.value.constant().or(given.map(|value| &value[..]));
        values.push(memory::copied(value.unwrap_or_default())?);
    }
    Ok(values)
}
