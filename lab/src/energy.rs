//! Energy: what a node draws at a utilisation, by eleven measured points.

/// Watts at 0, 10, … 100 % of a node's CPU; straight lines between.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PowerCurve {
    watts: [f64; 11],
}

impl PowerCurve {
    /// HP `ProLiant` ML110 G4, as published by `SPECpower_ssj2008` and used by `CloudSim` 3.0.3.
    pub const G4: Self =
        Self { watts: [86.0, 89.4, 92.6, 96.0, 99.5, 102.0, 106.0, 108.0, 112.0, 114.0, 117.0] };
    /// HP `ProLiant` ML110 G5, likewise. The default of every replay, for a node of whatever size: it
    /// compares policies with each other, it does not foretell a bill. Give your own for that.
    pub const G5: Self =
        Self { watts: [93.7, 97.0, 101.0, 105.0, 110.0, 116.0, 121.0, 125.0, 129.0, 133.0, 135.0] };

    /// Makes a curve of measured points, which must be finite and not negative.
    pub fn new(watts: [f64; 11]) -> Option<Self> {
        watts.iter().all(|w| w.is_finite() && *w >= 0.0).then_some(Self { watts })
    }

    /// Returns the watts of a powered-on node at a share of its CPU, held between 0 and 1.
    pub fn watts(&self, share: f64) -> f64 {
        let at = share.clamp(0.0, 1.0) * 10.0;
        let low = crate::number::floor_index(at).min(9);
        let part = at - crate::number::length(low);
        self.watts[low] + (self.watts[low + 1] - self.watts[low]) * part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_passes_through_its_points_and_lies_between_them() {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(PowerCurve::G4.watts(0.0), 86.0) && near(PowerCurve::G4.watts(1.0), 117.0));
        assert!(near(PowerCurve::G5.watts(0.25), 103.0));
        assert!(near(PowerCurve::G5.watts(7.0), 135.0) && near(PowerCurve::G5.watts(-1.0), 93.7));
    }
}
