//! Variances, covariances, correlations and regressions: which there are, and what each is of exact power sums.
//!
//! All follow from deviations: with n pairs, n·Σab − Σa·Σb is n² times the covariance of a and b. That difference is
//! where other ways lose digits; here it is exact, and what is left are a few multiplications and divisions, each
//! rounded once.

use super::fixed::{FRACTION_BITS, Fixed};
use super::moments::Moments;

/// A function of the moments of one column, or of a pair (y, x).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Statistic {
    VarPop,
    VarSamp,
    StddevPop,
    StddevSamp,
    CovarPop,
    CovarSamp,
    Corr,
    Slope,
    Intercept,
    /// The coefficient of determination.
    R2,
    /// Pairs without NULL.
    Count,
    AvgX,
    AvgY,
    Sxx,
    Syy,
    Sxy,
}

impl Statistic {
    /// The function with DataFusion's name for it.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "var_pop" => Self::VarPop,
            "var" | "var_samp" => Self::VarSamp,
            "stddev_pop" => Self::StddevPop,
            "stddev" => Self::StddevSamp,
            "covar_pop" => Self::CovarPop,
            "covar_samp" => Self::CovarSamp,
            "corr" => Self::Corr,
            "regr_slope" => Self::Slope,
            "regr_intercept" => Self::Intercept,
            "regr_r2" => Self::R2,
            "regr_count" => Self::Count,
            "regr_avgx" => Self::AvgX,
            "regr_avgy" => Self::AvgY,
            "regr_sxx" => Self::Sxx,
            "regr_syy" => Self::Syy,
            "regr_sxy" => Self::Sxy,
            _ => return None,
        })
    }

    /// How many arguments it takes.
    pub(super) fn arguments(self) -> usize {
        match self {
            Self::VarPop | Self::VarSamp | Self::StddevPop | Self::StddevSamp => 1,
            _ => 2,
        }
    }

    /// With fewer values or pairs it is NULL.
    fn values_min(self) -> i64 {
        match self {
            Self::VarSamp | Self::StddevSamp | Self::CovarSamp => 2,
            Self::Corr | Self::Slope | Self::Intercept | Self::R2 => 2,
            _ => 1,
        }
    }

    /// The result; None is NULL. Values that are not finite make it NaN, as far as it depends on them.
    pub(super) fn of(self, moments: &Moments) -> Option<f64> {
        let count = moments.count();
        if let (Self::Corr, [y, x]) = (self, moments.are_nan()) {
            match (y, x) {
                (true, true) => return Some(f64::NAN),
                (true, false) | (false, true) => return None,
                (false, false) => {}
            }
        }
        if count < self.values_min() {
            return None;
        }
        let n = Scaled::of_count(count);
        let deviation = |term: &Option<Fixed>| Scaled::of(term.as_ref(), 2);
        let [yy, xx, xy] = moments.deviations();
        let [syy, sxx, sxy] = [deviation(&yy), deviation(&xx), deviation(&xy)];
        let pairs = n.times(n);
        let pairs_but_one = n.times(Scaled::of_count(count - 1));
        Some(match self {
            // the moments of one column are those of y
            Self::VarPop => syy.by(pairs).value(),
            Self::VarSamp => syy.by(pairs_but_one).value(),
            Self::StddevPop => syy.by(pairs).root().value(),
            Self::StddevSamp => syy.by(pairs_but_one).root().value(),
            Self::CovarPop => sxy.by(pairs).value(),
            Self::CovarSamp => sxy.by(pairs_but_one).value(),
            Self::Corr | Self::R2 if sxx.is_zero() || syy.is_zero() => return None,
            Self::Corr => sxy.by(sxx.root()).by(syy.root()).value(),
            Self::R2 => sxy.times(sxy).by(sxx.times(syy)).value(),
            Self::Slope | Self::Intercept if sxx.is_zero() => return None,
            Self::Slope => sxy.by(sxx).value(),
            Self::Intercept => moments.intercept_numerator().by(n.times(sxx)).value(),
            Self::Count => count as f64,
            Self::AvgY => moments.sum(0) / count as f64,
            Self::AvgX => moments.sum(1) / count as f64,
            Self::Syy => syy.by(n).value(),
            Self::Sxx => sxx.by(n).value(),
            Self::Sxy => sxy.by(n).value(),
        })
    }
}

/// A float with an exponent of its own, so that squares and products neither overflow nor vanish on the way:
/// `fraction` × 2^`exponent`, where the fraction is 0, NaN, or from 1 to 2 without its sign.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scaled {
    fraction: f64,
    exponent: i32,
}

impl Scaled {
    /// `number` in units of 2⁻¹⁰⁷⁴ to the power of `unit`, rounded; NaN for None.
    pub(super) fn of(number: Option<&Fixed>, unit: i32) -> Self {
        let Some(number) = number else {
            return Self::normal(f64::NAN, 0);
        };
        let Some(rounded) = number.rounded() else {
            return Self::normal(0.0, 0);
        };
        let mantissa = rounded.mantissa as f64;
        let signed = if rounded.is_negative { -mantissa } else { mantissa };
        Self::normal(signed, rounded.shift as i32 - 1074 * unit)
    }

    fn of_count(count: i64) -> Self {
        Self::normal(count as f64, 0)
    }

    fn normal(value: f64, exponent: i32) -> Self {
        if value == 0.0 || !value.is_finite() {
            return Self {
                fraction: value,
                exponent: 0,
            };
        }
        let bits = value.to_bits();
        let own = (bits >> FRACTION_BITS & 0x7FF) as i32 - 1023;
        let fraction = f64::from_bits(bits & !(0x7FF << FRACTION_BITS) | 1023 << FRACTION_BITS);
        Self {
            fraction,
            exponent: exponent + own,
        }
    }

    fn is_zero(self) -> bool {
        self.fraction == 0.0
    }

    fn times(self, other: Self) -> Self {
        Self::normal(self.fraction * other.fraction, self.exponent + other.exponent)
    }

    fn by(self, other: Self) -> Self {
        Self::normal(self.fraction / other.fraction, self.exponent - other.exponent)
    }

    fn root(self) -> Self {
        let odd = self.exponent.rem_euclid(2);
        let fraction = self.fraction * f64::from(1 + odd);
        Self::normal(fraction.sqrt(), (self.exponent - odd) / 2)
    }

    /// As a float: infinite or 0 where it has no exponent that large or small.
    fn value(self) -> f64 {
        let (mut value, mut exponent) = (self.fraction, self.exponent.clamp(-2200, 2200));
        while exponent != 0 {
            let step = exponent.clamp(-1000, 1000);
            value *= f64::from_bits(((1023 + step) as u64) << FRACTION_BITS);
            exponent -= step;
        }
        value
    }
}
