//! Placeholder until its owner commits it.
