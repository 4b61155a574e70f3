//! The root half of the agent: acts on typed requests, decides nothing, and has no network.
