//! Pages of rows.

use sqlx::postgres::PgConnection;
use sqlx::{Postgres, QueryBuilder};

use super::super::columns::{Columns, int};
use super::rows::logged;
use crate::domain::cost::Outcome;
use crate::stores::record::RecordError;
use crate::stores::record::places::first_place;
use crate::stores::record::reports::{
    COUNTED_MAX, LogFilter, LogPage, LoggedRow, NumberedPage, PAGE_ROWS_MAX, Place, Scope, StatusFilter,
};

/// Rows looked at for one page by keyset.
pub(super) const LOOKED_AT_MAX: u64 = 50_000;

/// Adds the conditions of a filter to a statement that has a condition already.
pub(super) fn matching(query: &mut QueryBuilder<Postgres>, filter: &LogFilter) {
    scoped(query, filter);
    narrowed(query, filter);
}

/// Whose rows, and of what time: what an index answers.
fn scoped(query: &mut QueryBuilder<Postgres>, filter: &LogFilter) {
    query.push(" AND place >= (SELECT rows FROM log_removed)");
    match &filter.scope {
        Scope::Key(key) => {
            query.push(" AND key = ").push_bind(key.0);
        }
        Scope::Organization(organization) => {
            query.push(" AND organization = ").push_bind(organization.as_str().to_owned());
        }
        Scope::Everything => {}
    }
    if let Some(since) = filter.since {
        query.push(" AND place >= ").push_bind(first_place(since));
    }
    if let Some(until) = filter.until {
        query.push(" AND place < ").push_bind(first_place(until));
    }
}

/// What only a row tells.
fn narrowed(query: &mut QueryBuilder<Postgres>, filter: &LogFilter) {
    let success = Outcome::Success as i16;
    match filter.status {
        Some(StatusFilter::Success) => {
            query.push(" AND outcome = ").push_bind(success);
        }
        Some(StatusFilter::Failed) => {
            query.push(" AND outcome IS DISTINCT FROM ").push_bind(success);
        }
        Some(StatusFilter::Exactly(status)) => {
            query.push(" AND status = ").push_bind(i32::from(status));
        }
        Some(StatusFilter::Class(class)) => {
            query.push(" AND status / 100 = ").push_bind(i32::from(class));
        }
        None => {}
    }
    if let Some(tier) = &filter.tier {
        query.push(" AND tier = ").push_bind(tier.clone());
    }
    if let Some(domain) = &filter.domain {
        // The column's collation lowers ASCII letters only.
        query.push(" AND position(").push_bind(domain.to_ascii_lowercase());
        query.push(" IN lower(domain)) > 0");
    }
}

const fn is_narrow(filter: &LogFilter) -> bool {
    filter.status.is_some() || filter.tier.is_some() || filter.domain.is_some()
}

pub(super) async fn before(
    db: &mut PgConnection,
    filter: &LogFilter,
    before: Option<Place>,
    most: usize,
) -> Result<LogPage, RecordError> {
    let most = most.min(PAGE_ROWS_MAX);
    let end = before.map_or(i64::MAX, |place| place.0);
    let mut query = QueryBuilder::new("SELECT * FROM (");
    in_scope(&mut query, "*", filter, end);
    query.push(" LIMIT ").push_bind(int(LOOKED_AT_MAX)).push(") AS looked_at WHERE true");
    narrowed(&mut query, filter);
    // One more than is wanted tells whether there is one.
    query.push(" ORDER BY place DESC, id DESC LIMIT ").push_bind(int(most as u64 + 1));
    let found = query.build().fetch_all(&mut *db).await?;
    let mut rows = found.iter().map(|row| logged(&Columns(row))).collect::<Result<Vec<_>, _>>()?;
    if rows.len() > most {
        let next = cut(&mut rows, most);
        return Ok(LogPage { rows, next });
    }
    if !is_narrow(filter) {
        return Ok(LogPage { rows, next: None });
    }
    // All that was looked at is on the page. What follows is behind the last of it.
    let mut beyond = QueryBuilder::new("");
    in_scope(&mut beyond, "place", filter, end);
    beyond.push(" OFFSET ").push_bind(int(LOOKED_AT_MAX)).push(" LIMIT 1");
    let beyond = beyond.build().fetch_optional(db).await?;
    let next = beyond.map(|row| Columns(&row).number("place")).transpose()?;
    Ok(LogPage { rows, next: next.and_then(|place| place.checked_add(1)).map(Place) })
}

/// What the index of a scope has before `end`, from there on.
fn in_scope(query: &mut QueryBuilder<Postgres>, columns: &str, filter: &LogFilter, end: i64) {
    query.push("SELECT ").push(columns).push(" FROM requests WHERE place < ").push_bind(end);
    scoped(query, filter);
    query.push(" ORDER BY place DESC, id DESC");
}

/// Cuts a page to `most` rows, before rows that share their place with the first one of the next page; where that is to
/// begin. More rows of one place than a page has room for, which no clock and no dice make, are cut all the same.
fn cut(rows: &mut Vec<LoggedRow>, most: usize) -> Option<Place> {
    let next = rows.get(most)?.place;
    rows.truncate(most);
    let apart = rows.iter().rposition(|row| row.place != next).map_or(most, |last| last + 1);
    rows.truncate(apart);
    rows.last().map(|row| row.place)
}

pub(super) async fn numbered(
    db: &mut PgConnection,
    filter: &LogFilter,
    page: u64,
    size: usize,
) -> Result<NumberedPage, RecordError> {
    let size = size.min(PAGE_ROWS_MAX);
    let mut count = QueryBuilder::new("SELECT count(*) AS total FROM ");
    counted(&mut count, filter);
    let total = Columns(&count.build().fetch_one(&mut *db).await?).count("total")?;
    let first = page.saturating_sub(1).saturating_mul(size as u64);
    if first >= total {
        return Ok(NumberedPage { rows: Vec::new(), total });
    }
    let mut query = QueryBuilder::new("SELECT * FROM ");
    counted(&mut query, filter);
    query.push(" ORDER BY place DESC, id DESC OFFSET ").push_bind(int(first));
    query.push(" LIMIT ").push_bind(int(size as u64));
    let found = query.build().fetch_all(db).await?;
    let rows = found.iter().map(|row| logged(&Columns(row))).collect::<Result<_, _>>()?;
    Ok(NumberedPage { rows, total })
}

/// The rows of numbered pages: all that match, or of the newest [`COUNTED_MAX`] those that do.
fn counted(query: &mut QueryBuilder<Postgres>, filter: &LogFilter) {
    if !is_narrow(filter) {
        query.push("requests WHERE true");
        return matching(query, filter);
    }
    query.push("(");
    in_scope(query, "*", filter, i64::MAX);
    query.push(" LIMIT ").push_bind(int(COUNTED_MAX as u64)).push(") AS looked_at WHERE true");
    narrowed(query, filter);
}
