//! Refusals that end a call: the English words are the message of the status, and what they say goes
//! beside them as codes, so that whoever reads them says them in another language.
//!
//! What comes from elsewhere is bounded before it is decoded; what is not known is left to the words.

use prost::Message as _;
use tengyun_model::Said;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::convert::said::{from_wire, to_wire};
use crate::v1;

/// Where it stands what was refused.
const SAID: &str = "tengyun-said-bin";
/// Where it stands what would help.
const NEXT: &str = "tengyun-next-bin";
/// The most bytes of each: several times the longest of ours, and both fit well into the headers that
/// are taken.
const BYTES_MAX: usize = 1024;

/// Says no in words and as a code.
pub fn status(code: Code, said: &Said) -> Status {
    let status = Status::new(code, said.to_string());
    with(status, SAID, to_wire(said).as_ref())
}

/// Says a refusal of the wire, and what would help.
pub fn of_refusal(code: Code, refusal: &v1::Refusal) -> Status {
    let status = Status::new(code, format!("{}\nnext: {}", refusal.message, refusal.remedy));
    let status = with(status, SAID, refusal.said.as_ref());
    with(status, NEXT, refusal.remedy_said.as_ref())
}

fn with(mut status: Status, key: &'static str, said: Option<&v1::Said>) -> Status {
    // What is too long is said by the words alone.
    if let Some(bytes) = said.map(prost::Message::encode_to_vec).filter(|b| b.len() <= BYTES_MAX) {
        status.metadata_mut().insert_bin(key, MetadataValue::from_bytes(&bytes));
    }
    status
}

/// Returns what a status says and what would help, as far as this version knows it.
pub fn said(status: &Status) -> Option<(Said, Option<Said>)> {
    let said = taken(status, SAID)?;
    Some((said, taken(status, NEXT)))
}

fn taken(status: &Status, key: &str) -> Option<Said> {
    let value = status.metadata().get_bin(key)?;
    // Four characters carry three bytes.
    if value.as_encoded_bytes().len() > BYTES_MAX.div_ceil(3) * 4 {
        return None;
    }
    let bytes = value.to_bytes().ok()?;
    from_wire(&v1::Said::decode(bytes).ok()?)
}

#[cfg(test)]
mod tests {
    use tengyun_model::said;
    use tonic::metadata::MetadataMap;

    use super::*;

    fn again(status: Status) -> Status {
        let headers = status.into_http::<()>().into_parts().0.headers;
        Status::from_header_map(&headers).unwrap()
    }

    #[test]
    fn what_is_refused_is_said_as_words_and_as_a_code() {
        let token = said!(TokenUsed);
        let refused = again(status(Code::FailedPrecondition, &token));
        assert_eq!(refused.message(), token.to_string());
        assert_eq!(said(&refused), Some((token.clone(), None)));
        let help = said!(DoNewToken);
        let refusal = v1::Refusal {
            code: "token-used".to_owned(),
            message: token.to_string(),
            remedy: help.to_string(),
            said: to_wire(&token),
            remedy_said: to_wire(&help),
        };
        let refused = again(of_refusal(Code::FailedPrecondition, &refusal));
        assert_eq!(refused.message(), format!("{token}\nnext: {help}"));
        assert_eq!(said(&refused), Some((token, Some(help))));
    }

    #[test]
    fn what_is_too_long_hostile_or_not_known_is_left_to_the_words() {
        let long = said!(Verbatim, "x".repeat(2 * BYTES_MAX));
        assert_eq!(said(&status(Code::NotFound, &long)), None);
        let hostile = |bytes: &[u8]| {
            let mut map = MetadataMap::new();
            map.insert_bin(SAID, MetadataValue::from_bytes(bytes));
            said(&Status::with_metadata(Code::NotFound, "words", map))
        };
        assert_eq!(hostile(&[0xff; 16]), None);
        assert_eq!(hostile(&long_wire()), None);
        let newer = v1::Said { code: "of-tomorrow".to_owned(), arguments: Vec::new() };
        assert_eq!(hostile(&newer.encode_to_vec()), None);
        assert_eq!(said(&Status::not_found("words")), None);
    }

    fn long_wire() -> Vec<u8> {
        v1::Said::from(&said!(Verbatim, "x".repeat(2 * BYTES_MAX))).encode_to_vec()
    }
}
