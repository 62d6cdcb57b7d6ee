//! Rows, read back as they were written.

use sqlx::Row as _;
use sqlx::postgres::PgConnection;

use super::super::columns::{Columns, unreadable};
use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::id::{KeyId, RequestId};
use crate::domain::row::Row;
use crate::stores::record::RecordError;
use crate::stores::record::places::place_of;
use crate::stores::record::reports::{LoggedRow, Place};

/// The row of one request.
pub(super) async fn of(db: &mut PgConnection, id: RequestId) -> Result<Option<LoggedRow>, RecordError> {
    let row = sqlx::query(
        "SELECT * FROM requests WHERE place = $1 AND id = $2 AND place >= (SELECT rows FROM log_removed)",
    )
    .bind(place_of(id))
    .bind(id.0);
    row.fetch_optional(db).await?.map(|row| logged(&Columns(&row))).transpose()
}

/// A row of `requests`.
pub(in super::super) fn logged(columns: &Columns<'_>) -> Result<LoggedRow, RecordError> {
    let text = |name| Ok::<_, RecordError>(columns.opt_text(name)?.map(Into::into));
    let outcome: Option<i16> = columns.0.try_get("outcome")?;
    let outcome =
        outcome.map(|number| Outcome::ALL.get(number as usize).copied().ok_or_else(|| unreadable("outcome")));
    let source = CostSource::ALL.get(usize::from(columns.small("cost_source")?)).copied();
    let address: ipnet::IpNet = columns.0.try_get("address")?;
    let row = Row {
        id: RequestId(columns.uuid("id")?),
        at: columns.instant("at")?,
        organization: text("organization")?,
        project: text("project")?,
        key: columns.opt_uuid_as_is("key")?.map(KeyId),
        admitted: columns.flag("admitted")?,
        method: columns.text("method")?.into(),
        path: columns.text("path")?.into(),
        status: columns.small("status")?,
        code: text("code")?.unwrap_or_default(),
        outcome: outcome.transpose()?,
        first_byte_micros: columns.count("first_byte_micros")?,
        total_micros: columns.count("total_micros")?,
        address: address.addr(),
        cost: Cost { credits: columns.count("credits")?, microcents: columns.count("microcents")? },
        cost_source: source.ok_or_else(|| unreadable("cost_source"))?,
        tier: text("tier")?,
        domain: text("domain")?,
        bytes_in: columns.count("bytes_in")?,
        bytes_out: columns.count("bytes_out")?,
        target: text("target")?,
        user_agent: text("user_agent")?,
        job: None,
    };
    Ok(LoggedRow { place: Place(columns.number("place")?), row })
}
