//! The agent: measures one server, meters use, and runs the instances assigned to it.
