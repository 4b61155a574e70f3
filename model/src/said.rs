//! What is said to people: a stable code and its arguments, which every reader says in its own language.
//!
//! Refusals, explanations, events and findings are such values from where they arise to whoever reads
//! them. English stands with the codes; other languages are tables of those who speak them. Nothing is
//! decided by what is said.

mod code;

use std::fmt;

use crate::assignment::{Exit, Phase};
use crate::id::{Admission, Epoch, Incarnation, InstanceId, NodeId, OperationId, Revision};
use crate::identity::{Grant, Member, Role};
use crate::name::{DepartmentPath, Name, NodeName, WorkloadKey};
use crate::unit::{Mebibytes, Millicores, Permille};
use crate::workload::CopyKey;

pub use code::Code;

/// The deepest nesting of what is taken from elsewhere; ours is half as deep.
pub const DEPTH_MAX: usize = 8;

/// One sentence, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    code: Code,
    arguments: Vec<Argument>,
}

/// What a sentence is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A name, a number, a command, or what a program said: the same in every language.
    Text(String),
    /// An amount of CPU.
    Cpu(Millicores),
    /// An amount of memory or disk.
    Memory(Mebibytes),
    /// A part of the sentence.
    Said(Said),
}

/// Makes a [`Said`]; the compiler checks the number of arguments.
#[macro_export]
macro_rules! said {
    ($code:ident $(, $argument:expr)* $(,)?) => {{
        const GIVEN: usize = <[&str]>::len(&[$(stringify!($argument)),*]);
        const { assert!($crate::Code::$code.arity() == GIVEN, "so many arguments are needed") };
        $crate::Said::of($crate::Code::$code, vec![$($crate::Argument::from($argument)),*])
    }};
}

impl Said {
    /// Says nothing.
    pub const NOTHING: Self = Self { code: Code::Nothing, arguments: Vec::new() };

    /// Puts a sentence together; `said!` does so with as many arguments as it needs.
    pub const fn of(code: Code, arguments: Vec<Argument>) -> Self {
        Self { code, arguments }
    }

    /// Takes a sentence from elsewhere; nothing when it has other arguments than it needs.
    pub fn parse(code: &str, arguments: Vec<Argument>) -> Option<Self> {
        let code = Code::parse(code)?;
        (arguments.len() == code.arity()).then_some(Self { code, arguments })
    }

    /// Takes words as they are.
    pub fn verbatim(words: String) -> Self {
        if words.is_empty() { Self::NOTHING } else { said!(Verbatim, words) }
    }

    /// Returns its code.
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Returns its arguments, as many as the code needs.
    pub fn arguments(&self) -> &[Argument] {
        &self.arguments
    }

    /// Says whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.code == Code::Nothing
    }

    /// Says it in a language, by its table of sentences.
    pub fn render(&self, sentence: fn(Code) -> &'static str) -> String {
        let mut text = String::new();
        let mut parts = sentence(self.code).split('{');
        text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            let (place, rest) = part.split_once('}').unwrap_or(("", part));
            let argument = place.parse().ok().and_then(|at: usize| self.arguments.get(at));
            match argument {
                Some(Argument::Said(said)) => text.push_str(&said.render(sentence)),
                Some(Argument::Text(words)) => text.push_str(words),
                Some(Argument::Cpu(amount)) => text.push_str(&amount.to_string()),
                Some(Argument::Memory(amount)) => text.push_str(&amount.to_string()),
                None => {}
            }
            text.push_str(rest);
        }
        text
    }

    /// Cuts each of its texts where it is longer than that many bytes.
    #[must_use]
    pub fn bounded(mut self, bytes: usize) -> Self {
        for argument in &mut self.arguments {
            match argument {
                Argument::Text(text) => {
                    let end =
                        (0..=bytes.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
                    text.truncate(end.unwrap_or(0));
                }
                Argument::Said(said) => {
                    *said = std::mem::replace(said, Self::NOTHING).bounded(bytes);
                }
                Argument::Cpu(_) | Argument::Memory(_) => {}
            }
        }
        self
    }
}

impl Default for Said {
    fn default() -> Self {
        Self::NOTHING
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.render(Code::english))
    }
}

impl From<Said> for Argument {
    fn from(said: Said) -> Self {
        Self::Said(said)
    }
}

impl From<Millicores> for Argument {
    fn from(amount: Millicores) -> Self {
        Self::Cpu(amount)
    }
}

impl From<Mebibytes> for Argument {
    fn from(amount: Mebibytes) -> Self {
        Self::Memory(amount)
    }
}

macro_rules! text {
    ($($kind:ty),* $(,)?) => {
        $(
            impl From<$kind> for Argument {
                fn from(value: $kind) -> Self {
                    Self::Text(value.to_string())
                }
            }

            impl From<&$kind> for Argument {
                fn from(value: &$kind) -> Self {
                    Self::Text(value.to_string())
                }
            }
        )*
    };
}

text! {
    Admission, DepartmentPath, Epoch, Incarnation, InstanceId, Name, NodeId, NodeName, OperationId,
    Permille, Revision, String, WorkloadKey, i32, u16, u32, u64, usize,
}

impl From<&str> for Argument {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<Exit> for Said {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Code(code) => said!(ExitCode, code),
            Exit::Signal(signal) => said!(ExitSignal, signal),
            Exit::OutOfMemory => said!(ExitOutOfMemory),
            Exit::NotStarted => said!(ExitNotStarted),
            Exit::Unknown => said!(ExitUnknown),
            Exit::Unhealthy => said!(ExitUnhealthy),
            Exit::PortTaken(port) => said!(ExitPortTaken, port),
        }
    }
}

impl From<Phase> for Said {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Waiting => said!(PhaseWaiting),
            Phase::Starting => said!(PhaseStarting),
            Phase::Running => said!(PhaseRunning),
            Phase::Healthy => said!(PhaseHealthy),
            Phase::BackingOff => said!(PhaseBackingOff),
            Phase::Stopping => said!(PhaseStopping),
            Phase::Succeeded => said!(PhaseSucceeded),
            Phase::Failed => said!(PhaseFailed),
            Phase::Stopped => said!(PhaseStopped),
            Phase::Unhealthy => said!(PhaseUnhealthy),
        }
    }
}

impl From<&Role> for Said {
    fn from(role: &Role) -> Self {
        match role {
            Role::Operator => said!(RoleOperator),
            Role::Department(path) => said!(RoleDepartment, path),
            Role::Viewer => said!(RoleViewer),
        }
    }
}

impl From<&Member> for Said {
    fn from(member: &Member) -> Self {
        match member {
            Member::Node(name) => said!(MemberNode, name),
            Member::Person(name) => said!(MemberPerson, name),
        }
    }
}

impl From<&Grant> for Said {
    fn from(grant: &Grant) -> Self {
        match grant {
            Grant::NewNode => said!(GrantNewNode),
            Grant::Node(name) => said!(MemberNode, name),
            Grant::Person(name, role) => said!(GrantPerson, name, Self::from(role)),
        }
    }
}

impl From<&CopyKey> for Said {
    fn from(copy: &CopyKey) -> Self {
        said!(CopyOf, copy.ordinal, &copy.workload)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_a_word_of_its_own_and_names_all_its_arguments() {
        let words: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
        for code in Code::ALL {
            assert_eq!(Code::parse(code.as_str()), Some(*code));
            for place in 0..code.arity() {
                let named = code.english().contains(&format!("{{{place}}}"));
                assert!(named, "{code:?} does not name argument {place}");
            }
        }
    }

    #[test]
    fn what_names_itself_is_said_as_it_is_shown() {
        let grant = Grant::Person("dora".parse().unwrap(), Role::Viewer);
        assert_eq!(Said::from(&grant).to_string(), grant.to_string());
        let exits = [Exit::Code(3), Exit::Signal(9), Exit::OutOfMemory, Exit::NotStarted];
        for exit in exits.into_iter().chain([Exit::Unknown, Exit::Unhealthy, Exit::PortTaken(80)]) {
            assert_eq!(Said::from(exit).to_string(), exit.to_string());
        }
        let member = Member::Node("n1".parse().unwrap());
        assert_eq!(Said::from(&member).to_string(), member.to_string());
        let copy = CopyKey { workload: "city/a/app/web".parse().unwrap(), ordinal: 2 };
        assert_eq!(Said::from(&copy).to_string(), copy.to_string());
    }

    #[test]
    fn what_is_said_elsewhere_is_taken_with_its_arguments_or_not_at_all() {
        let two = vec![Argument::Cpu(Millicores::new(5)), Argument::Cpu(Millicores::new(1))];
        let said = Said::parse("no-cpu", two).unwrap();
        assert_eq!(said.to_string(), "wants 5 m CPU, 1 m left");
        assert_eq!(Said::parse("no-cpu", Vec::new()), None);
        assert_eq!(Said::parse("no-such-code", Vec::new()), None);
        let long = said!(ErrorWith, "é".repeat(10), said!(Verbatim, "xyz")).bounded(3);
        assert_eq!(long.to_string(), "é: xyz");
    }
}
