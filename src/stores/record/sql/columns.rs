//! Columns to values and back. A column that holds what this program never writes is
//! [`RecordError::Corrupt`].

use sqlx::Row as _;
use uuid::Uuid;

use super::engine::Row;
use crate::domain::id::{KeyId, OrgId, ProjectId};
use crate::domain::limit::SpendLimit;
use crate::domain::people::Role;
use crate::domain::secret::Digest;
use crate::domain::time::{Period, Timestamp};
use crate::stores::record::RecordError;

/// A count or instant as the record holds it. What is larger than it can hold is held as the largest.
pub(in crate::stores::record) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A cap as the record holds it.
pub(in crate::stores::record) fn opt_int(value: Option<u64>) -> Option<i64> {
    value.map(int)
}

/// An instant as the record holds it.
pub(in crate::stores::record) fn micros(at: Timestamp) -> i64 {
    int(at.micros())
}

/// An instant, or none, as the record holds it.
pub(in crate::stores::record) fn opt_micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(micros)
}

/// One row, read by the names of its columns.
pub(in crate::stores::record) struct Columns<'r>(pub &'r Row);

impl Columns<'_> {
    pub(in crate::stores::record) fn text(&self, name: &str) -> Result<String, RecordError> {
        Ok(self.0.try_get(name)?)
    }

    pub(in crate::stores::record) fn opt_text(&self, name: &str) -> Result<Option<String>, RecordError> {
        Ok(self.0.try_get(name)?)
    }

    pub(in crate::stores::record) fn flag(&self, name: &str) -> Result<bool, RecordError> {
        Ok(self.0.try_get(name)?)
    }

    pub(in crate::stores::record) fn number(&self, name: &str) -> Result<i64, RecordError> {
        Ok(self.0.try_get(name)?)
    }

    pub(in crate::stores::record) fn count(&self, name: &str) -> Result<u64, RecordError> {
        u64::try_from(self.number(name)?).map_err(|_| unreadable(name))
    }

    pub(in crate::stores::record) fn opt_count(&self, name: &str) -> Result<Option<u64>, RecordError> {
        let value: Option<i64> = self.0.try_get(name)?;
        value.map(|value| u64::try_from(value).map_err(|_| unreadable(name))).transpose()
    }

    pub(in crate::stores::record) fn instant(&self, name: &str) -> Result<Timestamp, RecordError> {
        Ok(Timestamp::from_micros(self.count(name)?))
    }

    pub(in crate::stores::record) fn opt_instant(
        &self,
        name: &str,
    ) -> Result<Option<Timestamp>, RecordError> {
        Ok(self.opt_count(name)?.map(Timestamp::from_micros))
    }

    pub(in crate::stores::record) fn uuid(&self, name: &str) -> Result<Uuid, RecordError> {
        Ok(self.0.try_get(name)?)
    }

    /// `None` where the column is NULL or nil.
    pub(in crate::stores::record) fn opt_uuid(&self, name: &str) -> Result<Option<Uuid>, RecordError> {
        let value: Option<Uuid> = self.0.try_get(name)?;
        Ok(value.filter(|id| !id.is_nil()))
    }

    pub(in crate::stores::record) fn key_id(&self, name: &str) -> Result<KeyId, RecordError> {
        self.uuid(name).map(KeyId)
    }

    pub(in crate::stores::record) fn org(&self, name: &str) -> Result<OrgId, RecordError> {
        OrgId::parse(&self.text(name)?).map_err(RecordError::Corrupt)
    }

    pub(in crate::stores::record) fn opt_org(&self, name: &str) -> Result<Option<OrgId>, RecordError> {
        self.opt_text(name)?.map(|text| OrgId::parse(&text).map_err(RecordError::Corrupt)).transpose()
    }

    pub(in crate::stores::record) fn opt_bytes(&self, name: &str) -> Result<Option<Vec<u8>>, RecordError> {
        Ok(self.0.try_get(name)?)
    }

    pub(in crate::stores::record) fn digest(&self, name: &str) -> Result<Digest, RecordError> {
        let bytes: &[u8] = self.0.try_get(name)?;
        Ok(Digest(bytes.try_into().map_err(|_| unreadable(name))?))
    }

    pub(in crate::stores::record) fn role(&self, name: &str) -> Result<Role, RecordError> {
        Role::named(&self.text(name)?).ok_or_else(|| unreadable(name))
    }

    pub(in crate::stores::record) fn project(&self, name: &str) -> Result<ProjectId, RecordError> {
        ProjectId::parse(&self.text(name)?).map_err(RecordError::Corrupt)
    }

    /// The columns `limit_…`.
    pub(in crate::stores::record) fn limit(&self) -> Result<Option<SpendLimit>, RecordError> {
        let Some(period) = self.opt_text("limit_period")? else { return Ok(None) };
        Ok(Some(SpendLimit {
            requests: self.opt_count("limit_requests")?,
            microcents: self.opt_count("limit_microcents")?,
            period: Period::named(&period).ok_or_else(|| unreadable("limit_period"))?,
            enabled: self.flag("limit_enabled")?,
        }))
    }
}

/// What is said of a column that this program did not write.
pub(in crate::stores::record) fn unreadable(column: &str) -> RecordError {
    RecordError::Corrupt(format!("the column `{column}` holds no value of its kind"))
}
