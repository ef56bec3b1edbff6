//! The number an endpoint has in the tables of the state zone.

/// How many endpoints the state zone knows.
pub const ENDPOINTS: usize = 256;

/// An endpoint's place in the state zone. It stays the same for as long as the zone lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointId(pub(super) u16);

/// One value for each endpoint. The last place is for all endpoints that have no id.
#[repr(C)]
pub(crate) struct ByEndpoint<T>([T; ENDPOINTS + 1]);

impl<T> ByEndpoint<T> {
    pub(crate) fn of(&self, endpoint: Option<EndpointId>) -> &T {
        &self.0[endpoint.map_or(ENDPOINTS, |EndpointId(index)| usize::from(index))]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}
