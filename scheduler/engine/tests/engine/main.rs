//! Tests of the engine as a whole: scenarios over time, and properties of any history.

mod calendar;
mod cloud;
mod kinds;
mod loss;
mod members;
mod operate;
mod policy;
mod ports;
mod power;
mod property;
mod provision;
mod rollout;
mod scenario;
mod volumes;
