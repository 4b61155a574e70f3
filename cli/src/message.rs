//! The catalogue: every sentence for a person, in English and Chinese, side by side.
//!
//! A sentence is a value with its arguments, so both languages have the same ones and the compiler
//! sees that they are given. Names, numbers and commands are arguments or stand in backquotes; they are
//! the same in every language.

macro_rules! messages {
    ($(#[$meaning:meta])* $catalogue:ident;
     $($name:ident { $($field:ident),* } $english:literal $chinese:literal)*) => {
        $(#[$meaning])*
        pub(crate) enum $catalogue<'a> {
            $(
                /// A sentence of the catalogue.
                $name { $($field: &'a dyn Display),* },
            )*
        }

        impl $catalogue<'_> {
            /// Says it in a language.
            pub(crate) fn text(&self, language: Language) -> String {
                match (self, language) {
                    $(
                        (Self::$name { $($field),* }, Language::English) => format!($english),
                        (Self::$name { $($field),* }, Language::Chinese) => format!($chinese),
                    )*
                }
            }

            /// Says it in the language of the locale.
            pub(crate) fn said(&self) -> String {
                self.text(Language::of_locale())
            }
        }

        /// Every sentence as it stands in the catalogue.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str, &str)] = &[$((stringify!($name), $english, $chinese)),*];
    };
}

/// A table of English texts, each with its Chinese.
macro_rules! pairs {
    ($($english:literal $chinese:literal)*) => {
        &[$(($english, $chinese)),*]
    };
}

mod catalogue;
mod chinese;
mod expected;
mod heard;
mod knob;
mod lab;
mod word;

pub(crate) use catalogue::Message;
pub(crate) use heard::{ended, heard, kind, refusal, told};
pub(crate) use knob::knob;
pub(crate) use lab::{lab_label, lab_note, lab_table};
pub(crate) use word::{reason, word, word_in};

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The arguments that a sentence names.
    fn arguments(sentence: &str) -> BTreeSet<&str> {
        let parts = sentence.split('{').skip(1);
        parts.filter_map(|part| part.split_once('}')).map(|(name, _)| name).collect()
    }

    fn is_chinese(text: &str) -> bool {
        text.chars().any(|c| matches!(c, '\u{4e00}'..='\u{9fff}'))
    }

    #[test]
    fn every_message_is_there_in_both_languages_with_the_same_arguments() {
        for (name, english, chinese) in catalogue::ALL {
            assert!(!is_chinese(english), "{name}: {english}");
            assert_eq!(arguments(english), arguments(chinese), "{name}");
            // What has words in one language has words in the other.
            let outside =
                english.split('{').map(|part| part.rsplit('}').next().unwrap_or_default());
            let spoken = outside.into_iter().any(|text| text.contains(char::is_alphabetic));
            assert_eq!(is_chinese(chinese), spoken, "{name}: {chinese}");
            assert_eq!(english.matches('`').count(), chinese.matches('`').count(), "{name}");
        }
    }
}
