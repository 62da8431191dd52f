//! Which run files are the state: the list of runs, as one value of the small database.

use super::block::{Malformed, seal, unseal};
use super::writer::WrittenRun;
use crate::{keys, varint};
use viewfeed_change::{Epoch, Error, Result};

/// The form written.
const VERSION: u64 = 2;
/// It did not say what was adopted, because nothing was.
const VERSION_WITHOUT_ADOPTED: u64 = 1;

/// The list of runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Manifest {
    /// Every id below this one may have been used.
    pub(super) next_id: u64,
    /// The files that the log names for epochs up to this one are among the runs, or were merged into them.
    pub(super) adopted: Epoch,
    /// Newest first.
    pub(super) runs: Vec<ListedRun>,
}

/// One run in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ListedRun {
    pub(super) written: WrittenRun,
    /// Keys that start with one of these were removed after the run was written.
    pub(super) hidden: Vec<Vec<u8>>,
}

/// Where it is in the small database.
pub(super) fn key() -> Vec<u8> {
    keys::manifest()
}

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        varint::put(&mut bytes, VERSION);
        varint::put(&mut bytes, self.next_id);
        varint::put(&mut bytes, self.adopted.0);
        varint::put(&mut bytes, self.runs.len() as u64);
        for run in &self.runs {
            varint::put(&mut bytes, run.written.id);
            varint::put(&mut bytes, run.written.file_bytes);
            varint::put(&mut bytes, u64::from(run.written.footer_crc));
            varint::put(&mut bytes, run.hidden.len() as u64);
            for prefix in &run.hidden {
                varint::put(&mut bytes, prefix.len() as u64);
                bytes.extend_from_slice(prefix);
            }
        }
        seal(&mut bytes);
        bytes
    }

    /// Fails as `Corrupt` if it is not what was written, as `Precondition` if it is of another version.
    pub(super) fn decode(value: Vec<u8>) -> Result<Self> {
        let bytes = unseal(value).ok_or_else(damaged)?;
        let mut input = bytes.as_slice();
        let version = varint::take(&mut input)?;
        if version != VERSION && version != VERSION_WITHOUT_ADOPTED {
            return Err(newer(version));
        }
        let has_adopted = version != VERSION_WITHOUT_ADOPTED;
        let manifest = Self::decode_rest(&mut input, has_adopted).map_err(|Malformed| damaged())?;
        if input.is_empty() {
            Ok(manifest)
        } else {
            Err(damaged())
        }
    }

    fn decode_rest(input: &mut &[u8], has_adopted: bool) -> Result<Self, Malformed> {
        let next_id = varint::take(input)?;
        let adopted = match has_adopted {
            true => Epoch(varint::take(input)?),
            false => Epoch::ZERO,
        };
        let mut runs = Vec::new();
        for _ in 0..varint::take(input)? {
            let written = WrittenRun {
                id: varint::take(input)?,
                file_bytes: varint::take(input)?,
                footer_crc: u32::try_from(varint::take(input)?).map_err(|_| Malformed)?,
            };
            let mut hidden = Vec::new();
            for _ in 0..varint::take(input)? {
                let length = varint::take(input)? as usize;
                let (prefix, rest) = input.split_at_checked(length).ok_or(Malformed)?;
                hidden.push(prefix.to_vec());
                *input = rest;
            }
            runs.push(ListedRun { written, hidden });
        }
        Ok(Self {
            next_id,
            adopted,
            runs,
        })
    }
}

fn damaged() -> Error {
    Error::corrupt("the list of run files is damaged")
        .hint("check the disk, then restore the data folder from a backup")
}

fn newer(version: u64) -> Error {
    let message = format!("the run files were written in form {version}, this program knows form {VERSION}");
    Error::new(
        viewfeed_change::ErrorKind::Precondition,
        "DATA_DIR_VERSION",
        message,
    )
    .hint("use the program that wrote the data folder, or a newer one")
}
