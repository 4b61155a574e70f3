//! A secret on the wire: never shown, and overwritten in memory when it is dropped.
//!
//! What the libraries below copy on the way (buffers of HTTP/2 and TLS) is beyond this; it is freed
//! and reused within moments and never written anywhere.

use std::fmt;

use zeroize::Zeroize as _;

use crate::v1;

/// The most bytes of one secret: a chain of certificates with its key, with room.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// The most secrets of one department; a workload has a handful.
pub const SECRETS_MAX: usize = 1000;

impl fmt::Debug for v1::SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecretValue")
            .field("name", &self.name)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Drop for v1::SecretValue {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::scheduler_message::Message;

    #[test]
    fn a_secret_is_not_shown_however_deep_it_is() {
        let value = v1::SecretValue { name: None, version: 7, value: b"hunter2".to_vec() };
        let shown = format!("{:?}", v1::SetSecretRequest { secret: Some(value.clone()) });
        let answer = v1::SecretAnswer { request: 1, values: vec![value], missing: Vec::new() };
        let message = v1::SchedulerMessage { message: Some(Message::SecretAnswer(answer)) };
        for shown in [shown, format!("{message:#?}")] {
            assert!(shown.contains("SecretValue") && shown.contains('7'), "{shown}");
            let bytes = format!("{:?}", b"hunter2".to_vec());
            let inner = bytes.trim_matches(['[', ']']);
            assert!(!shown.contains("hunter2") && !shown.contains(inner), "{shown}");
        }
    }
}
