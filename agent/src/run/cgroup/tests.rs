//! Tests of control groups against fixture trees.

use super::*;
