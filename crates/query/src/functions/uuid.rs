//! Functions that make uuids: a new one for every row.

use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};
use std::sync::Arc;
use uuid::Uuid;

/// `gen_random_uuid()` (random, version 4) and `uuid_v7()`, also `uuidv7()` (ordered by time, version 7).
pub(super) fn functions() -> [MakeUuid; 2] {
    let function = |name, aliases: &[&str], ordered| MakeUuid {
        name,
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        ordered,
        signature: Signature::nullary(Volatility::Volatile),
    };
    [
        function("gen_random_uuid", &[], false),
        function("uuid_v7", &["uuidv7"], true),
    ]
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct MakeUuid {
    name: &'static str,
    aliases: Vec<String>,
    ordered: bool,
    signature: Signature,
}

impl ScalarUDFImpl for MakeUuid {
    fn name(&self) -> &str {
        self.name
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let make = if self.ordered { Uuid::now_v7 } else { Uuid::new_v4 };
        let uuids: StringArray = (0..arguments.number_rows)
            .map(|_| Some(make().to_string()))
            .collect();
        Ok(ColumnarValue::Array(Arc::new(uuids)))
    }
}
