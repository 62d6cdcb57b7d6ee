//! Columns as both engines have them, and what only PostgreSQL has.

use sqlx::Row as _;
use uuid::Uuid;

pub(super) use super::sql::columns::{Columns, int, micros, opt_micros, unreadable};
use crate::stores::record::RecordError;

impl Columns<'_> {
    /// The number of a scope, or the width of a sum.
    pub(super) fn scope(&self, name: &str) -> Result<i32, RecordError> {
        Ok(self.0.try_get(name)?)
    }

    /// `None` where the column is NULL.
    pub(super) fn opt_uuid_as_is(&self, name: &str) -> Result<Option<Uuid>, RecordError> {
        Ok(self.0.try_get(name)?)
    }

    /// A small number that is never negative.
    pub(super) fn small(&self, name: &str) -> Result<u16, RecordError> {
        let value: i16 = self.0.try_get(name)?;
        u16::try_from(value).map_err(|_| unreadable(name))
    }
}
