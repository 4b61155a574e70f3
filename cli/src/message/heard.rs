//! What a scheduler says, in the language of the locale. What this version does not know is shown as it
//! came, in English.

use tengyun_engine::event::EventKind;
use tengyun_model::{Argument, Code, Said};
use tengyun_proto::convert::said;
use tengyun_proto::{refused, v1};

use super::expected::expected;
use super::knob::knob_in;
use super::{Message, chinese};
use crate::text::Language;

/// Says what came with its English words beside it.
pub(crate) fn heard(said: Option<&v1::Said>, words: &str) -> String {
    heard_in(Language::of_locale(), said, words)
}

/// Says what this process itself puts together.
pub(crate) fn told(said: &Said) -> String {
    match Language::of_locale() {
        Language::English => said.to_string(),
        Language::Chinese => in_chinese(said),
    }
}

/// Says it in Chinese.
fn in_chinese(said: &Said) -> String {
    words(said).render(chinese::sentence)
}

/// Translates the arguments that the wire has as English words: units, and what a field should be.
fn words(said: &Said) -> Said {
    let argument = |(at, argument): (usize, &Argument)| match (argument, said.code(), at) {
        (Argument::Text(text), Code::KnobRange, 2) => {
            Argument::Text(knob_in(Language::Chinese, text).to_owned())
        }
        (Argument::Text(text), Code::BadField, 1) => Argument::Text(expected(text)),
        (Argument::Said(said), _, _) => Argument::Said(words(said)),
        (Argument::Text(_) | Argument::Cpu(_) | Argument::Memory(_), _, _) => argument.clone(),
    };
    Said::of(said.code(), said.arguments().iter().enumerate().map(argument).collect())
}

/// Says why a call ended: in words as they came, or what they stand for.
pub(crate) fn ended(status: &tonic::Status) -> String {
    ended_in(Language::of_locale(), status)
}

fn ended_in(language: Language, status: &tonic::Status) -> String {
    match (language, refused::said(status)) {
        (Language::Chinese, Some((said, None))) => in_chinese(&said),
        (Language::Chinese, Some((said, Some(next)))) => {
            Message::Next { what: &in_chinese(&said), next: &in_chinese(&next) }.text(language)
        }
        (Language::Chinese, None) | (Language::English, _) => status.message().to_owned(),
    }
}

/// Says a refusal, and what would help.
pub(crate) fn refusal(refusal: &v1::Refusal) -> (String, String) {
    let message = heard(refusal.said.as_ref(), &refusal.message);
    (message, heard(refusal.remedy_said.as_ref(), &refusal.remedy))
}

/// Says what kind of event it was.
pub(crate) fn kind(word: &str) -> String {
    kind_in(Language::of_locale(), word)
}

fn heard_in(language: Language, said: Option<&v1::Said>, words: &str) -> String {
    match (language, said.and_then(said::from_wire)) {
        (Language::Chinese, Some(said)) => in_chinese(&said),
        (Language::Chinese, None) | (Language::English, _) => words.to_owned(),
    }
}

fn kind_in(language: Language, word: &str) -> String {
    match (language, EventKind::parse(word)) {
        (Language::Chinese, Some(kind)) => chinese::event(kind).to_owned(),
        (Language::Chinese, None) | (Language::English, _) => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use tengyun_model::{Millicores, said};

    use super::*;

    #[test]
    fn a_sentence_is_said_in_chinese_with_its_parts_and_otherwise_as_it_came() {
        let cpu = Millicores::new(500);
        let said = said!(WaitsHome, "n1", said!(NoCpu, cpu, Millicores::ZERO));
        let wire = v1::Said::from(&said);
        let chinese = heard_in(Language::Chinese, Some(&wire), "the words");
        assert_eq!(chinese, "等待 n1，它属于那里：需要 CPU 500 m，只剩 0 m");
        assert_eq!(heard_in(Language::English, Some(&wire), "the words"), "the words");
        assert_eq!(heard_in(Language::Chinese, None, "the words"), "the words");
        let newer = v1::Said { code: "of-tomorrow".to_owned(), ..wire };
        assert_eq!(heard_in(Language::Chinese, Some(&newer), "the words"), "the words");
        let range = v1::Said::from(&said!(KnobRange, 0_u64, 1_u64, "seconds"));
        assert_eq!(heard_in(Language::Chinese, Some(&range), ""), "0 至 1（秒）");
        let ended = refused::status(tonic::Code::NotFound, &said);
        assert_eq!(ended_in(Language::Chinese, &ended), chinese);
        assert_eq!(ended_in(Language::English, &ended), said.to_string());
        let other = tonic::Status::not_found("the words");
        assert_eq!(ended_in(Language::Chinese, &other), "the words");
        assert_eq!(kind_in(Language::Chinese, "placed"), "已调度");
        assert_eq!(kind_in(Language::Chinese, "of-tomorrow"), "of-tomorrow");
    }
}
