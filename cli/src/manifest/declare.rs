//! Declarations: a type of the manifest is written once, by `section!`, `words!` or `leaf!`; from that
//! come its decoder and its JSON Schema, so that the two cannot differ.

/// Says what a macro's optional part holds.
macro_rules! given {
    (default) => {
        None
    };
    (default $value:tt) => {
        Some(serde_json::json!($value))
    };
}

/// Names a field as the manifest does.
macro_rules! name {
    ($field:ident) => {
        const { $crate::manifest::decode::key(stringify!($field)) }
    };
}

/// Names the facts of one field.
macro_rules! facts {
    ($field:ident, [$($doc:literal)+], [$($default:tt)?]) => {
        $crate::manifest::decode::FieldFacts {
            key: name!($field),
            doc: concat!($($doc),+).trim_ascii(),
            default: given!(default $($default)?),
        }
    };
}

/// Writes a map of fields: `name: Type;` or `name: Type = default;`.
macro_rules! section {
    ($(#[doc = $about:literal])+ $name:ident {
        $($(#[doc = $doc:literal])+ $field:ident: $type:ty $(= $default:tt)?;)+
    }) => {
        $(#[doc = $about])+
        #[derive(Debug)]
        pub(super) struct $name {
            $($(#[doc = $doc])+ pub(super) $field: $type,)+
        }

        impl $crate::manifest::decode::Decode for $name {
            fn decode(
                place: &$crate::manifest::decode::Place<'_>,
                faults: &mut $crate::manifest::fault::Faults,
            ) -> Option<Self> {
                place.open(&[$(name!($field),)+], faults)?;
                $(let $field = place.field::<$type>(
                    &facts!($field, [$($doc)+], [$($default)?]),
                    faults,
                );)+
                Some(Self { $($field: $field?),+ })
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let mut schema = schemars::json_schema!({
                    "type": "object",
                    "description": concat!($($about),+).trim_ascii(),
                    "properties": {},
                    "required": [],
                    "additionalProperties": false,
                });
                $($crate::manifest::decode::describe::<$type>(
                    &facts!($field, [$($doc)+], [$($default)?]),
                    &mut schema,
                    generator,
                );)+
                schema
            }
        }
    };
}

/// Writes a choice of words: `"word" = value;`.
macro_rules! words {
    ($(#[doc = $about:literal])+ $name:ident($type:ty) {
        $($word:literal = $value:expr;)+
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $name(pub(super) $type);

        impl $name {
            const WORDS: &[(&str, $type)] = &[$(($word, $value)),+];
        }

        impl $crate::manifest::decode::Decode for $name {
            fn decode(
                place: &$crate::manifest::decode::Place<'_>,
                faults: &mut $crate::manifest::fault::Faults,
            ) -> Option<Self> {
                $crate::manifest::decode::word(Self::WORDS, place, faults).map(Self)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "enum": [$($word),+] })
            }
        }
    };
}

/// Writes a value that is one word or number: the sentence of what would be right, its schema, its
/// parser.
macro_rules! leaf {
    ($(#[doc = $about:literal])+ $name:ident($type:ty) {
        $expected:ident, $schema:tt, $parse:expr
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) struct $name(pub(super) $type);

        impl $crate::manifest::decode::Leaf for $name {
            const EXPECTED: $crate::manifest::sentence::Sentence =
                $crate::manifest::sentence::Sentence::$expected {};

            fn parse(scalar: &$crate::manifest::yaml::Scalar) -> Option<Self> {
                let parse: fn(&$crate::manifest::yaml::Scalar) -> Option<$type> = $parse;
                parse(scalar).map(Self)
            }
        }

        impl schemars::JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!($schema)
            }
        }
    };
}
