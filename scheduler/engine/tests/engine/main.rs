//! Tests of the engine as a whole: scenarios over time, and properties of any history.

mod anew;
mod calendar;
mod cloud;
mod forget;
mod gang;
mod history;
mod kinds;
mod loss;
mod members;
mod operate;
mod policy;
mod ports;
mod power;
mod property;
mod provision;
mod reserve;
mod rollout;
mod scenario;
mod season;
mod siblings;
mod steady;
mod stuck;
mod volumes;
