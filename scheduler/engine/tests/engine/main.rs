//! Tests of the engine as a whole: scenarios over time, and properties of any history.

mod cloud;
mod members;
mod property;
mod scenario;
