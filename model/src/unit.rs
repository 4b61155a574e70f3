//! Units: a number never crosses a function without saying what it counts.
//!
//! All are unsigned integers. Arithmetic is checked or saturating on purpose; there are no operator
//! overloads that could wrap or panic.

use std::fmt;
use std::iter::Sum;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident, $suffix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);

        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0);
            /// The largest amount.
            pub const MAX: Self = Self(u64::MAX);

            /// Wraps a raw count.
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// Returns the raw count.
            pub const fn get(self) -> u64 {
                self.0
            }

            /// Adds, or returns `None` on overflow.
            pub const fn checked_add(self, other: Self) -> Option<Self> {
                match self.0.checked_add(other.0) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }

            /// Subtracts, or returns `None` below zero.
            pub const fn checked_sub(self, other: Self) -> Option<Self> {
                match self.0.checked_sub(other.0) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }

            /// Adds and stops at the largest amount.
            #[must_use]
            pub const fn saturating_add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }

            /// Subtracts and stops at zero.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            /// Multiplies by a count and stops at the largest amount.
            #[must_use]
            pub const fn saturating_mul(self, count: u64) -> Self {
                Self(self.0.saturating_mul(count))
            }

            /// Returns this share of the amount, rounded down.
            #[must_use]
            pub fn share(self, share: Permille) -> Self {
                let wide = u128::from(self.0) * u128::from(share.get()) / 1000;
                Self(u64::try_from(wide).unwrap_or(u64::MAX))
            }

            /// Returns how much of `whole` this is, rounded down; of nothing it is nothing.
            pub fn share_of(self, whole: Self) -> Permille {
                if whole.0 == 0 {
                    return Permille::ZERO;
                }
                let wide = u128::from(self.0) * 1000 / u128::from(whole.0);
                Permille::new(u32::try_from(wide).unwrap_or(u32::MAX))
            }

            /// Returns true for nothing.
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{} ", $suffix), self.0)
            }
        }

        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
                amounts.fold(Self::ZERO, Self::saturating_add)
            }
        }
    };
}

unit! {
    /// CPU capacity or rate: thousandths of one core.
    Millicores, "m"
}
unit! {
    /// Memory or disk space.
    Mebibytes, "MiB"
}
unit! {
    /// CPU work done: one core busy for one millisecond.
    CoreMillis, "core-ms"
}
unit! {
    /// Memory held over time: one mebibyte for one second.
    MebibyteSeconds, "MiB-s"
}
unit! {
    /// A duration in milliseconds.
    Millis, "ms"
}

impl Millis {
    /// Makes a duration of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }
}

/// A share in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permille(u32);

impl Permille {
    /// No share.
    pub const ZERO: Self = Self(0);
    /// The whole.
    pub const WHOLE: Self = Self(1000);

    /// Wraps a raw count of thousandths.
    pub const fn new(raw: u32) -> Self {
        Self(raw)
    }

    /// Makes a share of whole percents.
    pub const fn from_percent(percent: u32) -> Self {
        Self(percent.saturating_mul(10))
    }

    /// Returns the raw count of thousandths.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Permille {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{} %", self.0 / 10, self.0 % 10)
    }
}

/// A moment: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(u64);

impl At {
    /// Wraps milliseconds since the Unix epoch.
    pub const fn from_millis(raw: u64) -> Self {
        Self(raw)
    }

    /// Returns milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Returns the time from `earlier` to this moment, or nothing if it is not earlier.
    pub const fn since(self, earlier: Self) -> Millis {
        Millis::new(self.0.saturating_sub(earlier.0))
    }

    /// Returns the moment that much later.
    #[must_use]
    pub const fn after(self, delay: Millis) -> Self {
        Self(self.0.saturating_add(delay.get()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_rounds_down_and_never_wraps() {
        assert_eq!(Millicores::new(999).share(Permille::new(500)), Millicores::new(499));
        assert_eq!(Millicores::MAX.share(Permille::WHOLE), Millicores::MAX);
        assert_eq!(Millicores::MAX.share(Permille::new(2000)), Millicores::MAX);
        assert_eq!(Millicores::new(1).share_of(Millicores::new(3)), Permille::new(333));
        assert_eq!(Millicores::new(1).share_of(Millicores::ZERO), Permille::ZERO);
    }

    #[test]
    fn units_show_their_unit() {
        assert_eq!(Millicores::new(250).to_string(), "250 m");
        assert_eq!(Permille::new(725).to_string(), "72.5 %");
        assert_eq!(Mebibytes::new(64).to_string(), "64 MiB");
    }
}
