//! Tests of the engine as a whole: scenarios over time, and properties of any history.

mod cloud;
mod loss;
mod members;
mod operate;
mod ports;
mod property;
mod provision;
mod scenario;
mod volumes;
