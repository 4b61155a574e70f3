//! What is said to people. A sentence that this version does not know is none: whoever takes it has
//! the English words beside it.

use tengyun_model::said::DEPTH_MAX;
use tengyun_model::{Argument, Mebibytes, Millicores, Said};

use crate::v1::{self, said_argument as wire};

impl From<&Said> for v1::Said {
    fn from(said: &Said) -> Self {
        Self {
            code: said.code().as_str().to_owned(),
            arguments: said.arguments().iter().map(Into::into).collect(),
        }
    }
}

impl From<&Argument> for v1::SaidArgument {
    fn from(argument: &Argument) -> Self {
        let argument = match argument {
            Argument::Text(text) => wire::Argument::Text(text.clone()),
            Argument::Cpu(amount) => wire::Argument::CpuMillicores(amount.get()),
            Argument::Memory(amount) => wire::Argument::MemoryMib(amount.get()),
            Argument::Said(said) => wire::Argument::Said(said.into()),
        };
        Self { argument: Some(argument) }
    }
}

/// Says it on the wire; nothing where nothing is said.
pub fn to_wire(said: &Said) -> Option<v1::Said> {
    (!said.is_empty()).then(|| said.into())
}

/// Takes what is said, if all of it is known and it is nested no deeper than ours.
pub fn from_wire(wire: &v1::Said) -> Option<Said> {
    within(wire, DEPTH_MAX)
}

fn within(wire: &v1::Said, depth: usize) -> Option<Said> {
    let deeper = depth.checked_sub(1)?;
    let argument = |argument: &v1::SaidArgument| match argument.argument.as_ref()? {
        wire::Argument::Text(text) => Some(Argument::Text(text.clone())),
        wire::Argument::CpuMillicores(raw) => Some(Argument::Cpu(Millicores::new(*raw))),
        wire::Argument::MemoryMib(raw) => Some(Argument::Memory(Mebibytes::new(*raw))),
        wire::Argument::Said(said) => within(said, deeper).map(Argument::Said),
    };
    let arguments = wire.arguments.iter().map(argument).collect::<Option<Vec<_>>>()?;
    Said::parse(&wire.code, arguments)
}

#[cfg(test)]
mod tests {
    use tengyun_model::said;

    use super::*;

    #[test]
    fn what_is_said_survives_the_wire_and_what_is_not_known_is_nothing() {
        let cpu = Millicores::new(5);
        let said = said!(ErrorWith, "n1", said!(NoCpu, cpu, cpu));
        let wire = v1::Said::from(&said);
        assert_eq!(from_wire(&wire), Some(said));
        assert_eq!(to_wire(&Said::NOTHING), None);
        let mut other = wire.clone();
        other.code = "of-tomorrow".to_owned();
        assert_eq!(from_wire(&other), None);
        let mut lacking = wire.clone();
        lacking.arguments[1].argument = None;
        assert_eq!(from_wire(&lacking), None);
        let mut deep = wire;
        for _ in 0..DEPTH_MAX {
            let argument = Some(wire::Argument::Said(deep));
            let arguments = vec![v1::SaidArgument { argument }];
            deep = v1::Said { code: "further".to_owned(), arguments };
        }
        assert_eq!(from_wire(&deep), None, "what nests too deep was taken");
    }
}
