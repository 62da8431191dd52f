//! Types as the server's catalog describes them, and which type of ours each becomes.

use super::{DECIMAL256_DIGITS, ValueType};
use crate::postgres::failure;
use std::collections::BTreeMap;
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use viewfeed_change::Result;

/// The digits of `numeric` without a limit, here, and how many of them follow the point: those of `numeric` in our SQL.
const NUMERIC_DIGITS: (u8, u8) = (38, 10);
/// What is added to the modifiers of most types, so that −1 is free.
const MODIFIER_BASE: i32 = 4;
/// How many types deep a domain or array may be nested before it is read as text.
const DEPTH_MAX: usize = 32;

/// The types of some columns, and those that they are made of.
pub(crate) struct PostgresTypes(BTreeMap<u32, PostgresType>);

struct PostgresType {
    name: String,
    kind: Kind,
}

enum Kind {
    /// Another type, with this modifier, and conditions.
    Domain(u32, i32),
    /// Of elements of a type.
    Array(u32),
    Enum,
    Other,
}

/// The types $1, what they are domains or arrays of, and so on.
const TYPES: &str = "
    WITH RECURSIVE wanted (oid) AS (
        SELECT unnest($1::oid[])
        UNION
        SELECT CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END FROM wanted JOIN pg_type t USING (oid)
        WHERE t.typtype = 'd' OR EXISTS (SELECT FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid)
    )
    SELECT t.oid, t.typname::text AS name, t.typtype::text AS kind, t.typbasetype AS base, t.typtypmod AS modifier,
        (SELECT e.oid FROM pg_type e WHERE e.oid = t.typelem AND e.typarray = t.oid) AS element
    FROM wanted JOIN pg_type t USING (oid)";

impl PostgresTypes {
    /// Those of `types`.
    pub(crate) async fn read(client: &Client, types: impl Iterator<Item = u32>) -> Result<Self> {
        let types: Vec<u32> = types.collect();
        let rows = client.query(TYPES, &[&types]).await;
        let rows = rows.map_err(|error| failure::of_client("reading the types of columns", &error))?;
        let types = rows.iter().map(|row| {
            let kind = match (row.get("kind"), row.get("element")) {
                ("d", _) => Kind::Domain(row.get("base"), row.get("modifier")),
                ("e", _) => Kind::Enum,
                (_, Some(element)) => Kind::Array(element),
                _ => Kind::Other,
            };
            let name = row.get("name");
            (row.get("oid"), PostgresType { name, kind })
        });
        Ok(Self(types.collect()))
    }

    /// What a column of this type and modifier is here.
    pub(crate) fn value(&self, oid: u32, modifier: i32) -> ValueType {
        self.nested(oid, modifier, DEPTH_MAX)
    }

    fn nested(&self, oid: u32, modifier: i32, depth: usize) -> ValueType {
        let Some((found, depth)) = self.0.get(&oid).zip(depth.checked_sub(1)) else {
            return ValueType::Text;
        };
        match found.kind {
            // A column of a domain has no modifier of its own.
            Kind::Domain(base, modifier) => self.nested(base, modifier, depth),
            Kind::Array(element) => match self.nested(element, modifier, depth) {
                // Arrays in arrays have one more pair of quotes, and others may have another separator.
                ValueType::Text | ValueType::List(_) => ValueType::Text,
                element => ValueType::List(Box::new(element)),
            },
            Kind::Enum => ValueType::String { chars_max: None },
            // Of an extension, which has another number in every database.
            Kind::Other if found.name == "citext" => ValueType::String { chars_max: None },
            Kind::Other => {
                Type::from_oid(oid).map_or(ValueType::Text, |built_in| native(&built_in, modifier))
            }
        }
    }
}

/// What a built-in type is here.
fn native(built_in: &Type, modifier: i32) -> ValueType {
    match *built_in {
        Type::BOOL => ValueType::Bool,
        Type::INT2 => ValueType::Int16,
        Type::INT4 => ValueType::Int32,
        Type::INT8 => ValueType::Int64,
        Type::OID => ValueType::Oid,
        Type::FLOAT4 => ValueType::Float32,
        Type::FLOAT8 => ValueType::Float64,
        Type::NUMERIC => numeric(modifier),
        Type::TEXT | Type::NAME => ValueType::String { chars_max: None },
        Type::VARCHAR | Type::BPCHAR => ValueType::String {
            chars_max: u32::try_from(modifier - MODIFIER_BASE).ok(),
        },
        Type::BYTEA => ValueType::Bytes,
        Type::DATE => ValueType::Date,
        Type::TIME => ValueType::Time,
        Type::TIMESTAMP => ValueType::Timestamp,
        Type::TIMESTAMPTZ => ValueType::TimestampTz,
        Type::UUID => ValueType::Uuid,
        Type::JSON => ValueType::Json,
        Type::JSONB => ValueType::Jsonb,
        // "char" among them: its two forms differ for bytes that are not ASCII.
        _ => ValueType::Text,
    }
}

/// `numeric(precision, scale)`: since version 15 the scale may be negative (the last digits before the point are zeros)
/// or greater than the precision (the first ones after it are).
fn numeric(modifier: i32) -> ValueType {
    if modifier < MODIFIER_BASE {
        let (precision, scale) = NUMERIC_DIGITS;
        return ValueType::Numeric { precision, scale };
    }
    let digits = modifier - MODIFIER_BASE;
    let precision = (digits >> 16) & 0xFFFF;
    // Eleven bits with a sign.
    let scale = ((digits & 0x7FF) ^ 0x400) - 0x400;
    let digits = match scale {
        ..0 => precision - scale,
        _ => precision.max(scale),
    };
    match u8::try_from(digits) {
        Ok(precision) if precision <= DECIMAL256_DIGITS => ValueType::Numeric {
            precision,
            scale: scale.max(0) as u8,
        },
        _ => ValueType::Text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_the_digits_they_can_have() {
        let value = |precision: i32, scale: i32| numeric((precision << 16 | scale & 0x7FF) + MODIFIER_BASE);
        let held = |precision, scale| ValueType::Numeric { precision, scale };
        assert_eq!(numeric(-1), held(38, 10));
        assert_eq!(value(10, 2), held(10, 2));
        assert_eq!(value(76, 0), held(76, 0));
        assert_eq!(value(77, 0), ValueType::Text);
        assert_eq!(value(1000, 1000), ValueType::Text);
        assert_eq!(value(2, -3), held(5, 0));
        assert_eq!(value(3, 5), held(5, 5));
        assert_eq!(value(3, -1000), ValueType::Text);
    }
}
