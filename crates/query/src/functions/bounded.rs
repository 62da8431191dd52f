//! Functions whose result is as long as an argument says: `lpad('x', 2000000000)` must not take the memory of everybody.

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::length::length;
use datafusion::arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::exec_err;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};
use std::sync::Arc;

/// Characters or elements that one call may make for all rows of a batch together.
const LENGTH_MAX: i64 = 64 << 20;

/// The functions that are bounded: their first argument is made as long as, or repeated as often as, the second says.
pub(super) const NAMES: [&str; 5] = ["lpad", "rpad", "repeat", "array_repeat", "array_resize"];

/// `inner`, refusing results longer than [`LENGTH_MAX`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Bounded {
    inner: Arc<ScalarUDF>,
}

impl Bounded {
    pub(super) fn new(inner: Arc<ScalarUDF>) -> Self {
        Self { inner }
    }

    /// The sum of the lengths that `arguments` ask for; 0 if they do not say.
    fn length(&self, arguments: &ScalarFunctionArgs) -> Result<i64> {
        let [value, count, ..] = arguments.args.as_slice() else {
            return Ok(0);
        };
        let rows = match (value, count) {
            (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)) => 1,
            _ => arguments.number_rows,
        };
        let counts = cast(&count.to_array(rows)?, &DataType::Int64)?;
        let counts = counts
            .as_primitive::<Int64Type>()
            .iter()
            .map(|count| count.unwrap_or(0).max(0));
        if self.inner.name() != "repeat" {
            return Ok(counts.fold(0, i64::saturating_add));
        }
        let widths = widths(&value.to_array(rows)?)?;
        let lengths = counts
            .zip(widths)
            .map(|(count, width)| count.saturating_mul(width));
        Ok(lengths.fold(0, i64::saturating_add))
    }
}

/// How long each text is, in bytes.
fn widths(texts: &ArrayRef) -> Result<Vec<i64>> {
    let widths = cast(&length(&cast(texts, &DataType::LargeUtf8)?)?, &DataType::Int64)?;
    let widths = widths.as_primitive::<Int64Type>();
    Ok(widths.iter().map(|width| width.unwrap_or(0)).collect())
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.length(&arguments)? > LENGTH_MAX {
            return exec_err!(
                "{} would make more than {LENGTH_MAX} characters or elements at once",
                self.name()
            );
        }
        self.inner.invoke_with_args(arguments)
    }
}
