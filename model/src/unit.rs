//! Units: a number never crosses a function without saying what it counts.
//!
//! All are unsigned integers. Arithmetic is checked or saturating on purpose; there are no operator
//! overloads that could wrap or panic.

use std::fmt;
use std::iter::Sum;
use std::num::NonZeroU64;

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
///
/// It is kept as one more than that, so that one which may be missing takes no more room: a million
/// instances keep several each. The last millisecond that 64 bits hold counts as the one before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct At(NonZeroU64);

impl At {
    /// Wraps milliseconds since the Unix epoch.
    pub const fn from_millis(raw: u64) -> Self {
        Self(NonZeroU64::MIN.saturating_add(raw))
    }

    /// Returns milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.0.get() - 1
    }

    /// Returns the time from `earlier` to this moment, or nothing if it is not earlier.
    pub const fn since(self, earlier: Self) -> Millis {
        Millis::new(self.millis().saturating_sub(earlier.millis()))
    }

    /// Returns the moment that much later.
    #[must_use]
    pub const fn after(self, delay: Millis) -> Self {
        Self::from_millis(self.millis().saturating_add(delay.get()))
    }
}

impl Default for At {
    fn default() -> Self {
        Self::from_millis(0)
    }
}

impl fmt::Debug for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("At").field(&self.millis()).finish()
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
    fn a_moment_that_may_be_missing_is_as_small_as_one_that_is_there() {
        assert_eq!(size_of::<Option<At>>(), 8);
        for raw in [0, 1, 1_799_020_800_000, u64::MAX - 1] {
            assert_eq!(At::from_millis(raw).millis(), raw);
        }
        let last = At::from_millis(u64::MAX);
        assert_eq!((last.millis(), last.after(Millis::new(9))), (u64::MAX - 1, last));
        assert_eq!((At::default().millis(), format!("{:?}", At::default())), (0, "At(0)".into()));
    }

    #[test]
    fn units_show_their_unit() {
        assert_eq!(Millicores::new(250).to_string(), "250 m");
        assert_eq!(Permille::new(725).to_string(), "72.5 %");
        assert_eq!(Mebibytes::new(64).to_string(), "64 MiB");
    }
}
