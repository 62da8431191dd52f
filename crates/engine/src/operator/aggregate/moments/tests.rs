//! Moments against the same computed from integers, whose sums are exact anyway.

use super::super::statistic::Statistic;
use super::*;
use proptest::prelude::*;

fn moments_of(pairs: &[(f64, f64)]) -> Moments {
    let mut moments = Moments::default();
    pairs.iter().for_each(|(y, x)| moments.add(*y, Some(*x), 1));
    moments
}

fn is_close(a: f64, b: f64) -> bool {
    (a - b).abs() <= 4.0 * f64::EPSILON * a.abs().max(b.abs())
}

proptest! {
    #[test]
    fn statistics_of_small_numbers_are_those_of_integers(
        pairs in prop::collection::vec((-1000..1000i64, -1000..1000i64), 2..20),
        scale in -60..60i32,
    ) {
        let unit = 2f64.powi(scale);
        let floats: Vec<(f64, f64)> = pairs.iter().map(|(y, x)| (*y as f64 * unit, *x as f64 * unit)).collect();
        let moments = moments_of(&floats);
        let sum = |of: &dyn Fn(&(i64, i64)) -> i64| pairs.iter().map(of).sum::<i64>();
        let n = pairs.len() as i64;
        let sxx = n * sum(&|p| p.1 * p.1) - sum(&|p| p.1).pow(2);
        let sxy = n * sum(&|p| p.0 * p.1) - sum(&|p| p.0) * sum(&|p| p.1);
        let syy = n * sum(&|p| p.0 * p.0) - sum(&|p| p.0).pow(2);
        let variance = syy as f64 / (n * n) as f64 * unit * unit;
        prop_assert!(is_close(Statistic::VarPop.of(&moments).unwrap(), variance));
        prop_assert!(is_close(Statistic::StddevPop.of(&moments).unwrap(), variance.sqrt()));
        match sxx {
            0 => prop_assert!(Statistic::Slope.of(&moments).is_none()),
            _ => {
                let slope = sxy as f64 / sxx as f64;
                prop_assert!(is_close(Statistic::Slope.of(&moments).unwrap(), slope));
                let intercept = (sum(&|p| p.0) * sxx - sum(&|p| p.1) * sxy) as f64 / (n * sxx) as f64 * unit;
                prop_assert!(is_close(Statistic::Intercept.of(&moments).unwrap(), intercept));
            }
        }
    }

    #[test]
    fn what_is_taken_away_leaves_no_trace(
        kept in prop::collection::vec((any::<f64>(), any::<f64>()), 0..5),
        gone in prop::collection::vec((any::<f64>(), any::<f64>(), 1..1i64 << 40), 0..5),
    ) {
        let wanted = moments_of(&kept);
        let mut moments = wanted.clone();
        gone.iter().for_each(|(y, x, weight)| moments.add(*y, Some(*x), *weight));
        let mut removal = Moments::default();
        gone.iter().for_each(|(y, x, weight)| removal.add(*y, Some(*x), -weight));
        prop_assert!(moments.merge(&removal));
        let (mut left, mut right) = (Vec::new(), Vec::new());
        moments.encode(&mut left);
        wanted.encode(&mut right);
        prop_assert_eq!(&left, &right);
        let read = Moments::decode(&mut Cursor(&left)).unwrap();
        prop_assert_eq!(read.is_empty(), kept.is_empty());
    }
}

#[test]
fn large_and_small_numbers_neither_overflow_nor_vanish() {
    let large = moments_of(&[(1e200, 1e-200), (3e200, 3e-200)]);
    assert!(is_close(Statistic::StddevPop.of(&large).unwrap(), 1e200));
    assert_eq!(Statistic::VarPop.of(&large), Some(f64::INFINITY));
    assert_eq!(Statistic::Corr.of(&large), Some(1.0));
    assert!(is_close(
        Statistic::Slope
            .of(&moments_of(&[(1e-200, 1e-200), (3e-200, 2e-200)]))
            .unwrap(),
        2.0
    ));
}

#[test]
fn digits_survive_a_large_mean() {
    let far = moments_of(&[(1e9 + 1.0, 0.0), (1e9 + 2.0, 0.0), (1e9 + 3.0, 0.0)]);
    assert_eq!(Statistic::VarSamp.of(&far), Some(1.0));
    assert_eq!(Statistic::Slope.of(&far), None, "x is constant");
}

#[test]
fn what_is_not_finite_makes_what_depends_on_it_nan() {
    let moments = moments_of(&[(f64::INFINITY, 1.0), (2.0, 2.0)]);
    assert!(Statistic::VarPop.of(&moments).unwrap().is_nan());
    assert!(Statistic::Slope.of(&moments).unwrap().is_nan());
    assert_eq!(Statistic::AvgX.of(&moments), Some(1.5));
    assert_eq!(Statistic::Sxx.of(&moments), Some(0.5));
    assert_eq!(
        Statistic::Corr.of(&moments_of(&[(f64::NAN, 1.0), (2.0, 2.0)])),
        None
    );
}
