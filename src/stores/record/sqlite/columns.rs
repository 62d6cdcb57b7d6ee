//! Columns as both engines have them, and as rusqlite reads and writes them.

use uuid::Uuid;

pub(super) use super::sql::columns::{Columns, int, micros, opt_micros, unreadable};
use crate::domain::id::KeyId;
use crate::stores::record::RecordError;

/// A UUID as SQLite holds it.
pub(super) fn bytes(id: &Uuid) -> &[u8] {
    id.as_bytes()
}

/// A key's id as SQLite holds it.
pub(super) fn key_id(bytes: &[u8]) -> Result<KeyId, RecordError> {
    Uuid::from_slice(bytes).map(KeyId).map_err(|_| unreadable("key"))
}

/// [`unreadable`] for one who reads with rusqlite.
pub(super) fn unreadable_value(column: &str) -> rusqlite::Error {
    let what = format!("the column `{column}` holds no value of its kind");
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, what.into())
}
