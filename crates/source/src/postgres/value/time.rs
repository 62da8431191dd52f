//! Dates and times: days and microseconds from 1970 on, of the ISO text (`datestyle = ISO`) or the binary form, which
//! counts from 2000.

use super::{Decoded, Fault};

/// From 1970-01-01 to 2000-01-01.
const EPOCH_DAYS: i32 = 10_957;
const EPOCH_US: i64 = EPOCH_DAYS as i64 * DAY_US;
const DAY_US: i64 = 86_400_000_000;
const SECOND_US: i64 = 1_000_000;
/// The digits of the years that Postgres has: to 5874897.
const YEAR_DIGITS_MAX: usize = 7;

const HOUR_24: Fault = Fault::NotRepresentable("24:00:00 is no time of a day");
const FAR: Fault = Fault::NotRepresentable("a time is too far away for microseconds in 64 bits");

/// `2024-02-29`, `0044-03-15 BC`, `infinity`.
pub(super) fn date_text(bytes: &[u8]) -> Decoded<i32> {
    match bytes {
        b"infinity" => return Ok(i32::MAX),
        b"-infinity" => return Ok(i32::MIN),
        _ => {}
    }
    let mut text = Text(bytes);
    let date = text.date()?;
    let days = date.days(text.is_before_christ())?;
    text.end()?;
    i32::try_from(days).map_err(|_| Fault::Malformed)
}

/// `23:59:59.999999`.
pub(super) fn time_text(bytes: &[u8]) -> Decoded<i64> {
    let mut text = Text(bytes);
    let us = text.time()?;
    text.end()?;
    time_binary(us)
}

/// `2024-02-29 12:00:00.5`, if `zoned` followed by `+02`, `-03:30` or `+00:53:28`; then perhaps ` BC`.
pub(super) fn timestamp_text(bytes: &[u8], zoned: bool) -> Decoded<i64> {
    match bytes {
        b"infinity" => return Ok(i64::MAX),
        b"-infinity" => return Ok(i64::MIN),
        _ => {}
    }
    let mut text = Text(bytes);
    let date = text.date()?;
    text.expect(b' ')?;
    let time_us = text.time()?;
    let offset_us = if zoned { text.offset()? } else { 0 };
    let days = date.days(text.is_before_christ())?;
    text.end()?;
    days.checked_mul(DAY_US)
        .and_then(|us| us.checked_add(time_us - offset_us))
        .filter(|us| *us != i64::MAX && *us != i64::MIN)
        .ok_or(FAR)
}

/// Of days from 2000 on.
pub(super) fn date_binary(days: i32) -> Decoded<i32> {
    match days {
        i32::MAX | i32::MIN => Ok(days),
        days => match days.checked_add(EPOCH_DAYS) {
            Some(i32::MAX) | None => Err(Fault::Malformed),
            Some(days) => Ok(days),
        },
    }
}

/// Of microseconds from midnight on.
pub(super) fn time_binary(us: i64) -> Decoded<i64> {
    match us {
        0..DAY_US => Ok(us),
        DAY_US => Err(HOUR_24),
        _ => Err(Fault::Malformed),
    }
}

/// Of microseconds from 2000 on.
pub(super) fn timestamp_binary(us: i64) -> Decoded<i64> {
    match us {
        i64::MAX | i64::MIN => Ok(us),
        us => us.checked_add(EPOCH_US).filter(|us| *us != i64::MAX).ok_or(FAR),
    }
}

/// A date in the Gregorian calendar.
struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// From 1970-01-01 on. After "days_from_civil" of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms".
    fn days(&self, is_before_christ: bool) -> Decoded<i64> {
        let is_possible = (1..=12).contains(&self.month) && (1..=31).contains(&self.day) && self.year > 0;
        if !is_possible {
            return Err(Fault::Malformed);
        }
        let year = if is_before_christ {
            1 - self.year
        } else {
            self.year
        };
        // Years begin in March, so that the day that comes and goes is their last.
        let year = year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Ok(era * 146_097 + day_of_era - 719_468)
    }
}

/// What is left of a text.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn date(&mut self) -> Decoded<Date> {
        let year = self.number(4, YEAR_DIGITS_MAX)?;
        self.expect(b'-')?;
        let month = self.number(2, 2)?;
        self.expect(b'-')?;
        let day = self.number(2, 2)?;
        Ok(Date { year, month, day })
    }

    /// Microseconds from midnight on.
    fn time(&mut self) -> Decoded<i64> {
        let hour = self.number(2, 2)?;
        self.expect(b':')?;
        let minute = self.number(2, 2)?;
        self.expect(b':')?;
        let second = self.number(2, 2)?;
        if minute > 59 || second > 59 {
            return Err(Fault::Malformed);
        }
        Ok(((hour * 60 + minute) * 60 + second) * SECOND_US + self.fraction()?)
    }

    fn fraction(&mut self) -> Decoded<i64> {
        if !self.skip(b".") {
            return Ok(0);
        }
        let before = self.0.len();
        let number = self.number(1, 6)?;
        let digits = before - self.0.len();
        Ok(number * 10_i64.pow(6 - digits as u32))
    }

    /// Of a time zone, in microseconds.
    fn offset(&mut self) -> Decoded<i64> {
        let sign = match self.0.first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(Fault::Malformed),
        };
        self.0 = &self.0[1..];
        let mut seconds = self.number(2, 2)? * 3600;
        for unit in [60, 1] {
            if self.skip(b":") {
                seconds += self.number(2, 2)? * unit;
            }
        }
        Ok(sign * seconds * SECOND_US)
    }

    fn is_before_christ(&mut self) -> bool {
        self.skip(b" BC")
    }

    fn number(&mut self, digits_min: usize, digits_max: usize) -> Decoded<i64> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(digits_min..=digits_max).contains(&digits) {
            return Err(Fault::Malformed);
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        Ok(number
            .iter()
            .fold(0, |number, digit| number * 10 + i64::from(digit - b'0')))
    }

    fn expect(&mut self, byte: u8) -> Decoded<()> {
        if self.skip(&[byte]) {
            return Ok(());
        }
        Err(Fault::Malformed)
    }

    fn skip(&mut self, prefix: &[u8]) -> bool {
        match self.0.strip_prefix(prefix) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn end(&self) -> Decoded<()> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(Fault::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_days_from_1970_on() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-01-01", EPOCH_DAYS),
            ("2000-02-29", EPOCH_DAYS + 59),
            ("2000-03-01", EPOCH_DAYS + 60),
            ("0001-01-01", -719_162),
            ("0001-12-31 BC", -719_163),
            // The first and the last that Postgres has.
            ("4714-11-24 BC", -2_440_588),
            ("5874897-12-31", 2_145_042_905),
            ("infinity", i32::MAX),
            ("-infinity", i32::MIN),
        ] {
            assert_eq!(date_text(text.as_bytes()), Ok(days), "{text}");
        }
        for wrong in [
            "",
            "2000",
            "2000-13-01",
            "2000-00-01",
            "2000-01-01 AD",
            "20000000-01-01",
            "0000-01-01",
        ] {
            assert_eq!(date_text(wrong.as_bytes()), Err(Fault::Malformed), "{wrong}");
        }
    }

    #[test]
    fn timestamps_are_microseconds_from_1970_on() {
        let naive = |text: &str| timestamp_text(text.as_bytes(), false);
        assert_eq!(naive("1970-01-01 00:00:01.5"), Ok(1_500_000));
        assert_eq!(naive("1969-12-31 23:59:59.999999"), Ok(-1));
        assert_eq!(
            naive("294246-12-31 23:59:59.999999"),
            Ok(9_223_371_244_799_999_999)
        );
        assert_eq!(naive("294276-12-31 23:59:59.999999"), Err(FAR));
        assert_eq!(naive("2000-01-01 00:00:00+00"), Err(Fault::Malformed));
        let zoned = |text: &str| timestamp_text(text.as_bytes(), true);
        assert_eq!(zoned("1970-01-01 02:00:00+02"), Ok(0));
        assert_eq!(zoned("1969-12-31 20:30:00-03:30"), Ok(0));
        assert_eq!(zoned("1970-01-01 00:53:28+00:53:28"), Ok(0));
        assert_eq!(zoned("0001-01-01 00:00:00+00 BC"), Ok(-62_167_219_200_000_000));
        assert_eq!(zoned("1970-01-01 02:00:00"), Err(Fault::Malformed));
    }

    #[test]
    fn both_forms_are_the_same_time() {
        assert_eq!(timestamp_binary(0), timestamp_text(b"2000-01-01 00:00:00", false));
        assert_eq!(timestamp_binary(i64::MAX), Ok(i64::MAX));
        assert_eq!(timestamp_binary(i64::MAX - 1), Err(FAR));
        assert_eq!(date_binary(60), date_text(b"2000-03-01"));
        assert_eq!(time_text(b"23:59:59.000001"), Ok(86_399_000_001));
        assert_eq!(time_text(b"24:00:00"), Err(HOUR_24));
        assert_eq!(time_text(b"25:00:00"), Err(Fault::Malformed));
    }
}
