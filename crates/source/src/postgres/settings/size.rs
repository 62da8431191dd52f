//! Numbers of bytes as Postgres writes them in its settings: `64kB`, `10GB`.

use viewfeed_change::{Error, Result};

/// The units, largest first; each is 1024 of the next.
const UNITS: [(&str, u64); 5] = [
    ("TB", 1 << 40),
    ("GB", 1 << 30),
    ("MB", 1 << 20),
    ("kB", 1 << 10),
    ("B", 1),
];

/// The bytes that `text`, the value of `option`, says. A number without a unit is bytes; the case of a unit does not matter.
pub(super) fn bytes(option: &str, text: &str) -> Result<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let factor = match unit {
        "" => Some(1),
        unit => UNITS
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case(unit))
            .map(|(_, factor)| *factor),
    };
    let bytes = || number.parse::<u64>().ok()?.checked_mul(factor?);
    bytes().filter(|bytes| *bytes > 0).ok_or_else(|| {
        Error::invalid("SOURCE_OPTION", format!("{option} is not a number of bytes"))
            .hint("write it as Postgres does: 512MB, 10GB, 1TB")
    })
}

/// In the largest unit that gives a whole number.
pub(in super::super) fn shown_bytes(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, factor)| bytes.is_multiple_of(*factor));
    let (name, factor) = unit.expect("every number is a multiple of 1");
    format!("{}{name}", bytes / factor)
}
