//! The scheduler daemon: one writer, a durable journal, and the operator and agent services.
