//! The outlook: how the whole cloud stands as planning sees it. The planner's view of the nodes is made once
//! for all that is asked of it.

use tengyun_model::At;

use super::memory;
use crate::place::problem::Problem;
use crate::place::reserve;
use crate::place::stuck::{Stuck, stuck};
use crate::predict::Forecast;
use crate::state::State;

/// How the cloud stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outlook {
    /// The reserve; nothing where the policy asks for none.
    pub reserve: Option<reserve::Standing>,
    /// Memory that is counted by its use; nothing where none is and none was.
    pub memory: Option<memory::Standing>,
    /// Nodes that are overloaded and that no move would relieve, the fullest first.
    pub stuck: Vec<Stuck>,
}

/// Says how the cloud stands.
pub fn outlook(state: &State, forecast: &Forecast, now: At) -> Outlook {
    let problem = Problem::new(state, forecast, now);
    let (reserve, memory) = (reserve::standing(&problem), memory::standing(&problem));
    Outlook { reserve, memory, stuck: stuck(problem) }
}
