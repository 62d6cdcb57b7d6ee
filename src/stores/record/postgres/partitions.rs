//! The partitions of the request log: one for each day (UTC) of arrival, made ahead, dropped when they are old.
//!
//! A partition is made beside the log and then attached, so that nobody who reads or writes the log waits for it.

use std::collections::BTreeSet;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use crate::domain::time::Timestamp;
use crate::stores::record::RecordError;
use crate::stores::record::places::PLACES_PER_MILLI;

/// The advisory lock of whoever makes or drops partitions: "tolldays" in ASCII.
const PARTITIONS: i64 = 0x746f_6c6c_6461_7973;

/// Milliseconds of a day.
const DAY_MILLIS: i64 = 86_400_000;

/// The day that a place lies in, since the Unix epoch.
pub(super) const fn day_of(place: i64) -> i64 {
    place / PLACES_PER_MILLI / DAY_MILLIS
}

/// The first place of a day; `None` where that is beyond the last there is.
pub(super) const fn first_of(day: i64) -> Option<i64> {
    match day.checked_mul(DAY_MILLIS) {
        Some(milli) => milli.checked_mul(PLACES_PER_MILLI),
        None => None,
    }
}

/// The name of a day's partition, such as `requests_20261121`.
pub(super) fn name_of(day: i64) -> String {
    let midnight = Timestamp::from_millis(day.saturating_mul(DAY_MILLIS).unsigned_abs()).to_string();
    let date = midnight.split('T').next().unwrap_or_default().replace('-', "");
    format!("requests_{date}")
}

/// Makes the partitions of `days` that are not `known` to be there, and the one behind the last of them.
pub(super) async fn make(
    connection: &mut PgConnection,
    days: &BTreeSet<i64>,
    known: &mut BTreeSet<i64>,
) -> Result<(), RecordError> {
    if days.is_subset(known) {
        return Ok(());
    }
    let ahead = days.last().map(|last| last + 1).filter(|day| first_of(*day).is_some());
    let wanted: BTreeSet<i64> = days.iter().copied().chain(ahead).collect();
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(PARTITIONS).execute(&mut *tx).await?;
    for day in wanted.difference(known) {
        let name = name_of(*day);
        let there = sqlx::query("SELECT 1 WHERE to_regclass($1) IS NOT NULL").bind(&name);
        if there.fetch_optional(&mut *tx).await?.is_none() {
            make_one(&mut tx, *day, &name).await?;
        }
    }
    tx.commit().await?;
    known.extend(wanted);
    Ok(())
}

async fn make_one(tx: &mut PgConnection, day: i64, name: &str) -> Result<(), RecordError> {
    let bound = |day: i64, beyond: &str| first_of(day).map_or(beyond.to_owned(), |place| place.to_string());
    let (from, to) = (bound(day, "MINVALUE"), bound(day + 1, "MAXVALUE"));
    // Names and numbers of our own.
    sqlx::query(AssertSqlSafe(format!("CREATE TABLE {name} (LIKE requests INCLUDING ALL)")))
        .execute(&mut *tx)
        .await?;
    sqlx::query(AssertSqlSafe(format!(
        "ALTER TABLE requests ATTACH PARTITION {name} FOR VALUES FROM ({from}) TO ({to})"
    )))
    .execute(tx)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_named_by_its_date_and_ends_where_the_next_begins() {
        let day = 20_778;
        assert_eq!(name_of(day), "requests_20261121");
        assert_eq!(name_of(0), "requests_19700101");
        let (first, next) = (first_of(day).unwrap(), first_of(day + 1).unwrap());
        assert_eq!((day_of(first), day_of(next - 1), day_of(next)), (day, day, day + 1));
        let last = day_of(i64::MAX);
        assert_eq!((name_of(last).as_str(), first_of(last + 1)), ("requests_21090515", None));
    }
}
