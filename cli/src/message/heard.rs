//! What a scheduler says, in the language of the locale. What this version does not know is shown as it
//! came, in English.

use tengyun_engine::event::EventKind;
use tengyun_model::Said;
use tengyun_proto::convert::said;
use tengyun_proto::v1;

use super::chinese;
use crate::text::Language;

/// Says what came with its English words beside it.
pub(crate) fn heard(said: Option<&v1::Said>, words: &str) -> String {
    heard_in(Language::of_locale(), said, words)
}

/// Says what this process itself puts together.
pub(crate) fn told(said: &Said) -> String {
    match Language::of_locale() {
        Language::English => said.to_string(),
        Language::Chinese => said.render(chinese::sentence),
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
        (Language::Chinese, Some(said)) => said.render(chinese::sentence),
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
        assert_eq!(kind_in(Language::Chinese, "placed"), "已调度");
        assert_eq!(kind_in(Language::Chinese, "of-tomorrow"), "of-tomorrow");
    }
}
