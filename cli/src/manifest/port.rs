//! Ports: a number, a named number, or a name to which the scheduler chooses a number.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tengyun_model::{Name, PortSpec};

use super::amount::whole;
use super::decode::{Decode, Place};
use super::fault::Faults;
use super::leaf::{NameText, text};
use super::sentence::Sentence;

/// The word for a number that the scheduler chooses.
const AUTO: &str = "auto";

section! {
    /// A port with a name.
    NamedPort {
        /// What it is called; the instance finds its number in `PORT_NAME`.
        name: NameText;
        /// Its number on the node; left out or `auto`: the scheduler chooses a free one.
        number: Option<PortNumber>;
    }
}

/// The number of a port; none where the scheduler is to choose it.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortNumber(Option<u16>);

/// One port of the list.
#[derive(Debug)]
pub(super) struct Port(pub(super) PortSpec);

impl Decode for PortNumber {
    fn decode(place: &Place<'_>, faults: &mut Faults) -> Option<Self> {
        let scalar = place.scalar();
        if scalar.and_then(text) == Some(AUTO) {
            return Some(Self(None));
        }
        let number = scalar.and_then(whole).and_then(|number| u16::try_from(number).ok());
        let number = number.filter(|number| *number != 0);
        if number.is_none() {
            place.refuse(Sentence::ExpectsPort {}, faults);
        }
        number.map(|number| Self(Some(number)))
    }
}

impl Decode for Port {
    fn decode(place: &Place<'_>, faults: &mut Faults) -> Option<Self> {
        if place.is_map() {
            let port = NamedPort::decode(place, faults)?;
            let number = port.number.and_then(|number| number.0);
            return Some(Self(PortSpec { name: port.name.0, number }));
        }
        let Some(number) = PortNumber::decode(place, faults)?.0 else {
            place.fault(Sentence::PortNeedsName {}, faults);
            return None;
        };
        let name = Name::new(number.to_string()).expect("digits are a name");
        Some(Self(PortSpec { name, number: Some(number) }))
    }
}

impl JsonSchema for PortNumber {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "PortNumber".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "number or auto",
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"const": AUTO},
            ],
        })
    }
}

impl JsonSchema for Port {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Port".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "port",
            "anyOf": [
                generator.subschema_for::<PortNumber>(),
                generator.subschema_for::<NamedPort>(),
            ],
        })
    }
}
