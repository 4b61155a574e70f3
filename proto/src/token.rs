//! A token as text: what an operator hands to whoever is to be let in.
//!
//! `ty1.<authority>.<secret>@<host>:<port>`: the fingerprint of the authority's certificate, so that
//! the secret is told to no other scheduler, and the secret itself, which is 256 random bits.

use std::fmt;
use std::str::FromStr;

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use tengyun_model::Digest;

use crate::identity::IdentityError;

/// The first part of every token: its kind and version.
pub const PREFIX: &str = "ty1";
/// The longest host name.
const HOST_BYTES_MAX: usize = 253;

/// Returns the SHA-256 digest of some bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    Digest::from_slice(digest(&SHA256, bytes).as_ref()).expect("SHA-256 has 32 bytes")
}

/// The secret of a token. It is shown only by making the token's text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Draws a new one.
    ///
    /// # Errors
    /// The system has no randomness.
    pub fn draw() -> Result<Self, IdentityError> {
        let mut bytes = [0; 32];
        SystemRandom::new().fill(&mut bytes).map_err(|_| IdentityError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// Takes exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Returns the bytes.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the digest under which the token is kept.
    pub fn digest(&self) -> Digest {
        sha256(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The fingerprint of the authority's certificate.
    pub authority: Digest,
    /// What lets in.
    pub secret: Secret,
    /// Where the scheduler is.
    pub address: Address,
}

/// Tells why a text is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It does not look like one.
    #[error("this is not a whole token: it must read {PREFIX}.<64 digits>.<64 digits>@HOST:PORT")]
    Shape,
    /// Its address is none.
    #[error("the token's address must be HOST:PORT")]
    Address,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secret = Digest::new(self.secret.0);
        write!(f, "{PREFIX}.{}.{secret}@{}", self.authority, self.address)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (left, address) = text.trim().split_once('@').ok_or(TokenError::Shape)?;
        let mut parts = left.split('.');
        let (Some(PREFIX), Some(authority), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Shape);
        };
        Ok(Self {
            authority: Digest::new(hexadecimal(authority).ok_or(TokenError::Shape)?),
            secret: Secret(hexadecimal(secret).ok_or(TokenError::Shape)?),
            address: address.parse()?,
        })
    }
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (i, byte) in bytes.iter_mut().enumerate() {
        let pair = text.get(2 * i..2 * i + 2).filter(|p| p.bytes().all(|b| b.is_ascii_hexdigit()));
        *byte = u8::from_str_radix(pair?, 16).ok()?;
    }
    Some(bytes)
}

/// Where a scheduler is: `HOST:PORT`, an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(String);

impl Address {
    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Address {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (host, port) = text.rsplit_once(':').ok_or(TokenError::Address)?;
        let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        let good = match inner {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => (1..=HOST_BYTES_MAX).contains(&host.len()) && host.bytes().all(plain),
        };
        let port = port.parse::<u16>().map_err(|_| TokenError::Address)?;
        if good && port > 0 { Ok(Self(text.to_owned())) } else { Err(TokenError::Address) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            authority: sha256(b"authority"),
            secret: Secret::draw().unwrap(),
            address: "10.1.2.3:7443".parse().unwrap(),
        }
    }

    #[test]
    fn a_token_reads_as_it_is_written() {
        let token = token();
        assert_eq!(token.to_string().parse(), Ok(token));
    }

    #[test]
    fn what_is_not_a_whole_token_is_refused() {
        let good = token().to_string();
        for end in [0, 3, 10, 68, 100, good.len() - 5, good.len() - 14] {
            assert!(good[..end].parse::<Token>().is_err(), "{}", &good[..end]);
        }
        for bad in [good.replace("ty1", "ty2"), good.replace('@', ".x@"), format!("é{good}")] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["a.b-c:1", "10.0.0.1:65535", "[::1]:7443"] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
        for bad in ["", "a", ":1", "a:0", "a:65536", "::1:7", "a b:1", "a/b:1", "[x]:1", "a:+1x"] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_not_shown_by_accident() {
        let token = token();
        let shown = Digest::new(token.secret.0).to_string();
        assert!(!format!("{token:?}").contains(&shown));
    }
}
