//! Templates: text with variables in double braces, such as `{{ port.http }}`. There is no logic, and
//! a name that means nothing is an error, never an empty text.

use std::fmt;

use crate::name::Name;
use crate::workload::WorkloadSpec;

const OPEN: &str = "{{";
const CLOSE: &str = "}}";
/// What stands for two opening braces that open nothing.
const LITERAL: &str = "{{{{";

/// One piece of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// Text as it is written.
    Text(&'a str),
    /// What is put in its place.
    Variable(Variable<'a>),
}

/// What may stand between braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Variable<'a> {
    /// `port.NAME`: the number of a port.
    Port(&'a str),
    /// `secret.NAME`: the value of a secret of the workload.
    Secret(&'a str),
    /// `secrets`: the directory of the instance's secrets.
    Secrets,
    /// `instance`: the number of the instance.
    Instance,
    /// `ordinal`: which copy of its workload it is.
    Ordinal,
    /// `workload`: the full name of the workload.
    Workload,
    /// `name`: the workload's own name.
    Name,
    /// `application`: the name of its application.
    Application,
    /// `department`: the path of its department.
    Department,
    /// `node`: the name of the node.
    Node,
}

impl<'a> Variable<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        if let Some(port) = text.strip_prefix("port.") {
            return Some(Self::Port(port));
        }
        if let Some(secret) = text.strip_prefix("secret.") {
            return Some(Self::Secret(secret));
        }
        Some(match text {
            "secrets" => Self::Secrets,
            "instance" => Self::Instance,
            "ordinal" => Self::Ordinal,
            "workload" => Self::Workload,
            "name" => Self::Name,
            "application" => Self::Application,
            "department" => Self::Department,
            "node" => Self::Node,
            _ => return None,
        })
    }
}

/// Tells where a template is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: TemplateProblem,
}

/// What can be wrong in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TemplateProblem {
    /// It is not text in UTF-8.
    NotText,
    /// Two braces are opened and not closed.
    NotClosed,
    /// What stands between braces is no variable; it is cut.
    NoVariable(String),
    /// The workload has no port of this name, cut; it has these.
    NoPort(String, Vec<String>),
    /// The workload lists no secret of this name, cut; it lists these.
    NoSecret(String, Vec<String>),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.problem)
    }
}

impl std::error::Error for TemplateError {}

impl fmt::Display for TemplateProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lacks = |f: &mut fmt::Formatter<'_>, word: &str, name: &str, known: &[String]| {
            let has = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            write!(f, "the workload has no {word} {name:?}: it has {has}")
        };
        match self {
            Self::NotText => f.write_str("is not text in UTF-8"),
            Self::NotClosed => write!(f, "{OPEN} is not closed (write {LITERAL} for {OPEN})"),
            Self::NoVariable(name) => write!(
                f,
                "{name:?} is no variable: there are port.NAME, secret.NAME, secrets, instance, ordinal, \
                 workload, name, application, department and node"
            ),
            Self::NoPort(name, known) => lacks(f, "port", name, known),
            Self::NoSecret(name, known) => lacks(f, "secret", name, known),
        }
    }
}

/// Takes a template apart.
///
/// # Errors
/// It is not text, braces are open at its end, or what stands between them is no variable.
pub fn parts(content: &[u8]) -> Result<Vec<Part<'_>>, TemplateError> {
    let text = std::str::from_utf8(content).map_err(|e| {
        let before = content.get(..e.valid_up_to()).unwrap_or_default();
        let line = before.split(|b| *b == b'\n').count();
        TemplateError { line, problem: TemplateProblem::NotText }
    })?;
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(OPEN) {
        let (before, opened) = rest.split_at(at);
        let line = 1 + lines(text) - lines(opened);
        let wrong = |problem| TemplateError { line, problem };
        if !before.is_empty() {
            parts.push(Part::Text(before));
        }
        if let Some(after) = opened.strip_prefix(LITERAL) {
            parts.push(Part::Text(OPEN));
            rest = after;
            continue;
        }
        let inside = opened.strip_prefix(OPEN).unwrap_or_default();
        let Some((name, after)) = inside.split_once(CLOSE) else {
            return Err(wrong(TemplateProblem::NotClosed));
        };
        let name = name.trim_matches(' ');
        let Some(variable) = Variable::parse(name) else {
            return Err(wrong(TemplateProblem::NoVariable(cut(name))));
        };
        parts.push(Part::Variable(variable));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(Part::Text(rest));
    }
    Ok(parts)
}

/// How much is shown of what is no variable.
const NAME_SHOWN_MAX: usize = 64;

/// Checks that a template of a workload can be filled in, whatever node it runs on.
///
/// # Errors
/// It cannot be taken apart, or it names a port or a secret that the workload does not have.
pub fn check(content: &[u8], spec: &WorkloadSpec) -> Result<(), TemplateError> {
    let mut line = 1;
    for part in parts(content)? {
        let problem = match part {
            Part::Text(text) => {
                line += lines(text);
                continue;
            }
            Part::Variable(Variable::Port(name)) => {
                lacks(name, &names(&spec.ports, |port| &port.name), TemplateProblem::NoPort)
            }
            Part::Variable(Variable::Secret(name)) => {
                let known = names(&spec.provision.secrets, |secret| &secret.from);
                lacks(name, &known, TemplateProblem::NoSecret)
            }
            Part::Variable(_) => continue,
        };
        if let Some(problem) = problem {
            return Err(TemplateError { line, problem });
        }
    }
    Ok(())
}

/// Says whether a template holds the value of a secret when it is filled in.
pub fn holds_secret(content: &[u8]) -> bool {
    let secret = |part: &Part<'_>| matches!(part, Part::Variable(Variable::Secret(_)));
    parts(content).is_ok_and(|parts| parts.iter().any(secret))
}

fn names<T>(items: &[T], name: impl Fn(&T) -> &Name) -> Vec<&str> {
    items.iter().map(|item| name(item).as_str()).collect()
}

/// Says that a name is not among the known ones, if it is not.
fn lacks(
    name: &str,
    known: &[&str],
    problem: fn(String, Vec<String>) -> TemplateProblem,
) -> Option<TemplateProblem> {
    let all = || known.iter().map(|known| (*known).to_owned()).collect();
    (!known.contains(&name)).then(|| problem(cut(name), all()))
}

fn cut(name: &str) -> String {
    name.chars().take(NAME_SHOWN_MAX).collect()
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|b| *b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_text_and_variables() {
        let all = parts(b"listen {{ port.http }};\n{{node}}{{{{x}} {{secret.a-b}}").unwrap();
        let expected = [
            Part::Text("listen "),
            Part::Variable(Variable::Port("http")),
            Part::Text(";\n"),
            Part::Variable(Variable::Node),
            Part::Text("{{"),
            Part::Text("x}} "),
            Part::Variable(Variable::Secret("a-b")),
        ];
        assert_eq!(all, expected);
        assert!(holds_secret(b"{{ secret.a }}") && !holds_secret(b"{{ secrets }} secret.a"));
        assert_eq!(parts(b"").unwrap(), []);
        assert_eq!(parts(b"} }} {").unwrap(), [Part::Text("} }} {")]);
    }

    #[test]
    fn what_means_nothing_is_an_error_with_its_line() {
        for (text, expected) in [
            (&b"a\n\n{{ x }}"[..], "line 3: \"x\" is no variable"),
            (b"{{ port.http }", "line 1: {{ is not closed"),
            (b"{{ Port.http }}", "line 1: \"Port.http\" is no variable"),
            (b"{{ }}", "line 1: \"\" is no variable"),
            (b"a\n{{ if x }}", "line 2: \"if x\" is no variable"),
            (b"a\nb\xff", "line 2: is not text"),
        ] {
            let error = parts(text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
