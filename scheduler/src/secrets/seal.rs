//! Sealing: AES-256-GCM with a key, a random nonce and a context that must be the same on opening.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use tengyun_proto::token::sha256;
use zeroize::Zeroizing;

/// The bytes of a key.
pub(super) const KEY_BYTES: usize = 32;
/// The bytes that tell one key from another and say nothing of it.
const ID_BYTES: usize = 8;

/// Tells why something cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SealError {
    /// The system has no randomness.
    NoRandomness,
    /// It was sealed by another key or for another purpose, or it was changed.
    NotOurs,
}

/// A key that seals.
pub(super) struct SealKey {
    bytes: Zeroizing<[u8; KEY_BYTES]>,
    key: LessSafeKey,
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").finish_non_exhaustive()
    }
}

impl SealKey {
    /// Makes a new key.
    pub(super) fn make() -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        SystemRandom::new().fill(bytes.as_mut()).map_err(|_| SealError::NoRandomness)?;
        Ok(Self::of(bytes))
    }

    /// Takes the bytes of a key.
    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        let mut own = Zeroizing::new([0; KEY_BYTES]);
        if bytes.len() != own.len() {
            return None;
        }
        own.copy_from_slice(bytes);
        Some(Self::of(own))
    }

    fn of(bytes: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, bytes.as_ref()).expect("a key has 32 bytes");
        Self { bytes, key: LessSafeKey::new(key) }
    }

    /// Returns its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// Returns what tells it from others.
    pub(super) fn id(&self) -> Vec<u8> {
        let mut named = Zeroizing::new(b"tengyun key id\0".to_vec());
        named.extend_from_slice(self.bytes());
        sha256(&named).bytes().iter().copied().take(ID_BYTES).collect()
    }

    /// Seals: the nonce, the ciphertext, the tag.
    pub(super) fn seal(&self, context: &[u8], plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0; NONCE_LEN];
        // 96 random bits: even 2^32 seals of one key meet twice with a chance of 2^-33.
        SystemRandom::new().fill(&mut nonce).map_err(|_| SealError::NoRandomness)?;
        let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(plain);
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(nonce_of, Aad::from(context), &mut sealed)
            .map_err(|_| SealError::NotOurs)?;
        sealed.splice(0..0, nonce);
        Ok(sealed)
    }

    /// Opens what was sealed with the same key and context.
    pub(super) fn open(
        &self,
        context: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN).ok_or(SealError::NotOurs)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::NotOurs)?;
        let mut plain = Zeroizing::new(rest.to_vec());
        let opened = self.key.open_in_place(nonce, Aad::from(context), &mut plain);
        let bytes = opened.map_err(|_| SealError::NotOurs)?.len();
        plain.truncate(bytes);
        Ok(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_with_the_same_key_and_context_only() {
        let key = SealKey::make().unwrap();
        let sealed = key.seal(b"a", b"value").unwrap();
        assert_eq!(key.open(b"a", &sealed).unwrap().as_slice(), b"value");
        assert!(!sealed.windows(5).any(|w| w == b"value"));
        assert_ne!(key.seal(b"a", b"value").unwrap(), sealed, "a nonce came twice");
        let other = SealKey::make().unwrap();
        assert_eq!(key.open(b"b", &sealed).unwrap_err(), SealError::NotOurs);
        assert_eq!(other.open(b"a", &sealed).unwrap_err(), SealError::NotOurs);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(key.open(b"a", &changed).unwrap_err(), SealError::NotOurs, "{at}");
        }
        for short in [0, 11, 12, 27] {
            assert_eq!(key.open(b"a", &sealed[..short]).unwrap_err(), SealError::NotOurs);
        }
        let same = SealKey::from_slice(key.bytes()).unwrap();
        assert_eq!(same.id(), key.id());
        assert_ne!(other.id(), key.id());
        assert!(SealKey::from_slice(&[0; 31]).is_none());
    }
}
