//! Energy: what a node draws at a utilisation, by eleven measured points.

/// The most that one server draws: a rack of them draws less.
const WATTS_MAX: f64 = 100_000.0;

/// What keeps watts from being a curve.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CurveFault {
    /// One of them is no amount.
    #[error("{0:?} is not an amount of watts from 0 to 100000")]
    Watts(String),
    /// There are not eleven.
    #[error(
        "eleven watts are wanted, at 0, 10, … 100 % of the CPU, such as 93.7,97,101,105,110,116,121,125,129,133,135; these are {0}"
    )]
    Count(usize),
    /// More load would draw less.
    #[error("a server draws no less under more load: {watts} W at {load} % after {before} W")]
    Falls {
        /// The load in percent.
        load: usize,
        /// What is said of it.
        watts: f64,
        /// What is said of 10 % less.
        before: f64,
    },
    /// It would draw nothing.
    #[error("a server that is busy draws something")]
    Nothing,
}

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

    /// Parses eleven watts, at 0, 10, … 100 % of the CPU, with commas between.
    pub fn parse(text: &str) -> Result<Self, CurveFault> {
        let numbers = text.split(',').map(|part| {
            let watts = part.trim().parse().ok().filter(|w: &f64| (0.0..=WATTS_MAX).contains(w));
            watts.ok_or_else(|| CurveFault::Watts(part.trim().chars().take(20).collect()))
        });
        let watts = numbers.collect::<Result<Vec<f64>, _>>()?;
        let watts: [f64; 11] =
            watts.try_into().map_err(|w: Vec<f64>| CurveFault::Count(w.len()))?;
        if let Some(at) = (1..11).find(|at| watts[*at] < watts[*at - 1]) {
            let (load, less) = (at * 10, watts[at]);
            return Err(CurveFault::Falls { load, watts: less, before: watts[at - 1] });
        }
        if watts[10] <= 0.0 {
            return Err(CurveFault::Nothing);
        }
        Ok(Self { watts })
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

    #[test]
    fn eleven_watts_that_do_not_fall_are_a_curve_and_other_words_are_told_why() {
        let g5 = "93.7,97, 101,105,110,116,121,125,129,133,135";
        assert_eq!(PowerCurve::parse(g5), Ok(PowerCurve::G5));
        let said = |text: &str| PowerCurve::parse(text).unwrap_err().to_string();
        assert!(said("1,2,3").ends_with("these are 3"));
        assert!(said("0,1,2,3,4,5,6,7,8,9,10,11").ends_with("these are 12"));
        assert!(said("").contains("\"\" is not an amount"));
        for bad in ["nan", "inf", "-1", "1e9", "x"] {
            assert!(said(&g5.replace("110", bad)).contains(&format!("{bad:?} is not an amount")));
        }
        assert!(said(&g5.replace("110", "11")).contains("11 W at 40 % after 105 W"));
        assert!(said("0,0,0,0,0,0,0,0,0,0,0").contains("draws something"));
    }
}
