//! The exact sum against Shewchuk's, against repetition, and against taking away what was added.

use super::*;
use proptest::prelude::*;

/// Shewchuk's sum: partial sums that do not overlap, then rounded once. Exact while nothing overflows.
fn reference(values: &[f64]) -> f64 {
    let mut partials: Vec<f64> = Vec::new();
    for value in values {
        let mut x = *value;
        let mut kept = Vec::new();
        for partial in partials {
            let (mut big, mut small) = (x, partial);
            if big.abs() < small.abs() {
                std::mem::swap(&mut big, &mut small);
            }
            let sum = big + small;
            let rest = small - (sum - big);
            if rest != 0.0 {
                kept.push(rest);
            }
            x = sum;
        }
        kept.push(x);
        partials = kept;
    }
    let mut sum = partials.pop().unwrap_or(0.0);
    while let Some(next) = partials.pop() {
        let before = sum;
        sum += next;
        let rest = next - (sum - before);
        if rest != 0.0 {
            // What is left decides a tie: half an ulp more or less in the direction of the partials below.
            let below = partials.last().copied().unwrap_or(0.0);
            let twice = sum + rest * 2.0;
            if (rest < 0.0 && below < 0.0 || rest > 0.0 && below > 0.0) && twice - sum == rest * 2.0 {
                sum = twice;
            }
            break;
        }
    }
    sum + 0.0
}

fn sum_of(values: &[f64]) -> FloatSum {
    let mut sum = FloatSum::default();
    values.iter().for_each(|value| sum.add(*value, 1));
    sum
}

fn encoded(sum: &FloatSum) -> Vec<u8> {
    let mut out = Vec::new();
    sum.encode(&mut out);
    out
}

/// Floats of every size, and of sizes that meet.
fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>()
            .prop_map(f64::from_bits)
            .prop_filter("small enough to add", |v| v.abs() < 1e300),
        (-1_000_000i32..1_000_000, -60i32..60).prop_map(|(m, e)| f64::from(m) * 2f64.powi(e)),
        (
            any::<i64>(),
            prop_oneof![Just(0), Just(53), Just(-53), Just(-1000)]
        )
            .prop_map(|(m, e)| m as f64 * 2f64.powi(e)),
        // Halfway between two floats, together with 1.0: ties, and what breaks them.
        (1i64 << 52..1 << 53).prop_map(|m| (m * 2) as f64),
        prop_oneof![Just(1.0), Just(-1.0), Just(2f64.powi(-40))],
        Just(f64::MIN_POSITIVE / 4.0),
        Just(-0.0),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_sum_is_the_true_sum_rounded_once(values in prop::collection::vec(float(), 0..12)) {
        prop_assert_eq!(sum_of(&values).value().to_bits(), reference(&values).to_bits());
    }

    #[test]
    fn weights_are_repetition_and_small_sums_are_exact(
        values in prop::collection::vec((-1_000_000_000i64..1_000_000_000, -1000i64..1000), 0..20),
        exponent in -300i32..300,
    ) {
        let mut sum = FloatSum::default();
        values.iter().for_each(|(value, weight)| sum.add(*value as f64 * 2f64.powi(exponent), *weight));
        let exact: i64 = values.iter().map(|(value, weight)| value * weight).sum();
        prop_assert_eq!(sum.value(), exact as f64 * 2f64.powi(exponent));
    }

    #[test]
    fn what_is_taken_away_leaves_no_trace(
        kept in prop::collection::vec(float(), 0..6),
        gone in prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 0..12),
    ) {
        let mut sum = FloatSum::default();
        gone.iter().for_each(|value| sum.add(*value, 3));
        kept.iter().for_each(|value| sum.add(*value, 1));
        let mut away = FloatSum::default();
        gone.iter().rev().for_each(|value| away.add(*value, -3));
        sum.merge(&away);
        prop_assert_eq!(encoded(&sum), encoded(&sum_of(&kept)));
        prop_assert_eq!(sum.value().to_bits(), sum_of(&kept).value().to_bits());
    }

    #[test]
    fn a_stored_sum_goes_on_where_it_was(first in prop::collection::vec(float(), 0..8), more in float()) {
        let sum = sum_of(&first);
        let bytes = encoded(&sum);
        let mut input = Cursor(&bytes);
        let mut stored = FloatSum::decode(&mut input).unwrap();
        prop_assert!(input.end().is_ok());
        prop_assert_eq!(encoded(&stored), bytes.clone());
        stored.add(more, 1);
        let mut whole = sum;
        whole.add(more, 1);
        prop_assert_eq!(encoded(&stored), encoded(&whole));
    }

    #[test]
    fn damaged_bytes_do_not_panic(bytes: Vec<u8>, value in float()) {
        if let Ok(mut sum) = FloatSum::decode(&mut Cursor(&bytes)) {
            sum.add(value, 1);
            sum.value();
        }
    }
}

#[test]
fn sums_beyond_the_largest_float_are_infinite_and_come_back() {
    let mut sum = sum_of(&[f64::MAX, f64::MAX]);
    assert_eq!(sum.value(), f64::INFINITY);
    sum.add(f64::MAX, -1);
    assert_eq!(sum.value(), f64::MAX);
    sum.add(f64::MAX, i64::MIN);
    assert_eq!(sum.value(), f64::NEG_INFINITY);
}

#[test]
fn a_tie_goes_to_the_even_float() {
    let even = 2f64.powi(53);
    assert_eq!(sum_of(&[even, 1.0]).value(), even);
    assert_eq!(sum_of(&[even, 2.0, 1.0]).value(), even + 4.0);
    assert_eq!(sum_of(&[-even, -2.0, -1.0]).value(), -even - 4.0);
    assert_eq!(sum_of(&[even, 1.0, f64::MIN_POSITIVE]).value(), even + 2.0);
}

#[test]
fn a_naive_sum_would_drift() {
    let mut sum = sum_of(&[1e16, 1.0, -1e16]);
    assert_eq!(sum.value(), 1.0);
    sum.add(1.0, -1);
    assert!(sum.is_zero());
    assert_eq!(encoded(&sum), encoded(&FloatSum::default()));
}

#[test]
fn infinities_and_nan_are_counted() {
    let mut sum = sum_of(&[1.5, f64::INFINITY]);
    assert_eq!(sum.value(), f64::INFINITY);
    sum.add(f64::NEG_INFINITY, 1);
    assert!(sum.value().is_nan());
    sum.add(f64::INFINITY, -1);
    assert_eq!(sum.value(), f64::NEG_INFINITY);
    sum.add(f64::NEG_INFINITY, -1);
    assert_eq!(sum.value(), 1.5);
    sum.add(f64::NAN, -1);
    assert!(sum.is_negative());
}
