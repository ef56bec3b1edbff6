//! What an introspection answer is made of.

/// An HTTP answer, reduced to what introspection reads.
#[derive(Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: Option<Vec<u8>>,
    /// Every `Cache-Control` line, in order.
    pub cache_control: Vec<Vec<u8>>,
    /// `Age`.
    pub age: Option<Vec<u8>>,
    /// `Retry-After`.
    pub retry_after: Option<Vec<u8>>,
    /// `Content-Encoding`.
    pub content_encoding: Option<Vec<u8>>,
    /// The content, at most 65,536 bytes.
    pub body: Vec<u8>,
}
