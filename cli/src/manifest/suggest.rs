//! Suggestions: the known name that an unknown one was probably meant to be.

use crate::text::Language;

/// How alike two names must be, by Jaro and Winkler; below it a suggestion misleads.
const LIKENESS_MIN: f64 = 0.85;

/// What other schedulers call our fields, and the sections of fields that are sought outside them.
const FOREIGN: [(&str, &str); 29] = [
    ("replicas", "instances"),
    ("count", "instances"),
    ("image", "artifacts"),
    ("args", "command"),
    ("cmd", "command"),
    ("entrypoint", "command"),
    ("exec", "command"),
    ("environment", "env"),
    ("tenant", "department"),
    ("namespace", "department"),
    ("app", "application"),
    ("priority", "class"),
    ("qos", "class"),
    ("type", "kind"),
    ("healthcheck", "health"),
    ("mem", "memory"),
    ("nodeselector", "constraints"),
    ("affinity", "constraints"),
    ("terminationgraceperiodseconds", "stop"),
    ("cpu", "resources"),
    ("cpulimit", "resources"),
    ("memory", "resources"),
    ("mem", "resources"),
    ("disk", "resources"),
    ("pids", "resources"),
    ("labels", "constraints"),
    ("spread", "constraints"),
    ("antiaffinity", "constraints"),
    ("licences", "counted"),
];

/// Returns the name among `known` that is nearest to an unknown one.
pub(super) fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = plain(unknown);
    let meant = |ours: &&&'a str| FOREIGN.contains(&(plain.as_str(), **ours));
    if let Some(ours) = known.iter().find(meant) {
        return Some(ours);
    }
    let likeness = |name: &&str| strsim::jaro_winkler(&plain, &self::plain(name));
    let best = known.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= LIKENESS_MIN).then_some(best)
}

/// Writes `cpuLimit`, `cpu-limit` and `cpu_limit` alike.
fn plain(name: &str) -> String {
    /// Longer names are nobody's slip of the finger.
    const CHARS_MAX: usize = 64;
    let letters = name.chars().filter(|c| !matches!(c, '_' | '-'));
    letters.take(CHARS_MAX).map(|c| c.to_ascii_lowercase()).collect()
}

/// Joins words as a choice: `a, b or c`.
pub(super) fn choice(words: &[&str], language: Language) -> String {
    let (comma, or) = (language.pick(", ", "、"), language.pick("or", "或"));
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} {or} {last}", rest.join(comma)),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_and_a_far_one_is_not() {
        let known = ["cpu", "cpu_limit", "memory", "instances", "anti_affinity"];
        let pairs = [
            ("cpuLimit", Some("cpu_limit")),
            ("anti-affinity", Some("anti_affinity")),
            ("memroy", Some("memory")),
            ("replicas", Some("instances")),
            ("mem", Some("memory")),
            ("zebra", None),
            ("", None),
        ];
        for (unknown, expected) in pairs {
            assert_eq!(nearest(unknown, &known), expected, "{unknown}");
        }
    }

    #[test]
    fn a_choice_reads_as_a_sentence() {
        let english = |words: &[&str]| choice(words, Language::English);
        assert_eq!(english(&["a", "b", "c"]), "a, b or c");
        assert_eq!((english(&["a"]), english(&[])), ("a".to_owned(), String::new()));
        assert_eq!(choice(&["a", "b", "c"], Language::Chinese), "a、b 或 c");
    }
}
