//! The body of an answer that is an error.

wire! {
    /// `{"message": …}`.
    pub struct ErrorBody {
        #[serde(rename = "message")]
        pub message: String,
    }
}

/// A value that a client sent and that cannot be what it means; HTTP 400. The text is Docker's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid(pub String);

impl std::fmt::Display for Invalid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Invalid {}

impl Invalid {
    /// With this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
