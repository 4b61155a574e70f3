//! The agent: measures one server, meters use, and runs the instances assigned to it.
//!
//! It holds no truth of its own: what should run comes from the ledger of the last assignment, what
//! does run is read from the disk and the kernel. It never decides what should run where.

#[cfg(test)]
mod fixture;
mod guard;
mod ledger;
mod link;
mod meter;
mod observe;
mod reconcile;
mod run;
pub mod shim;
