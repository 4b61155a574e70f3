//! The band: the part of the policy that agents need to know.

use crate::unit::Permille;

/// The wanted CPU utilisation of a node in use, on 5-minute averages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Band {
    /// Below it a node is worth emptying.
    pub floor: Permille,
    /// What harvest fills to.
    pub target: Permille,
    /// Above it a node is overloaded.
    pub ceiling: Permille,
}

impl Band {
    /// The default band: 60, 79 and 80 %.
    pub const DEFAULT: Self = Self {
        floor: Permille::from_percent(60),
        target: Permille::from_percent(79),
        ceiling: Permille::from_percent(80),
    };

    /// Returns true when the three are in order and not above the whole.
    pub fn is_valid(self) -> bool {
        self.floor <= self.target && self.target <= self.ceiling && self.ceiling <= Permille::WHOLE
    }
}

impl Default for Band {
    fn default() -> Self {
        Self::DEFAULT
    }
}
