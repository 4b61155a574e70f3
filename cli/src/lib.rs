//! The tengyun command: one file a verb; the composition root of `tengyun up`.
