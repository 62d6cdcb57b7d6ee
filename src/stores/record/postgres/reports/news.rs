//! Rows in the order in which they came in.

use sqlx::postgres::PgConnection;

use super::super::columns::{Columns, int};
use super::pages::matching;
use super::rows::logged;
use crate::stores::record::RecordError;
use crate::stores::record::reports::{Arrived, LogFilter, News, PAGE_ROWS_MAX};

/// Bits of [`Arrived`] that number a row of its batch: `logs.batch_rows_max` is at most 1,000,000.
const ROW_BITS: u32 = 20;

/// Rows looked at for one answer, to whole batches.
const LOOKED_AT_MAX: u64 = 20_000;

/// Behind everything that is there.
pub(super) async fn end(db: &mut PgConnection) -> Result<Arrived, RecordError> {
    let last =
        sqlx::query("SELECT coalesce(max(sequence), 0) AS last FROM log_arrivals").fetch_one(db).await?;
    Ok(place(Columns(&last).number("last")? + 1, 0))
}

fn place(sequence: i64, row: u64) -> Arrived {
    Arrived((sequence.max(0) as u64) << ROW_BITS | row)
}

/// The batch that `arrived` lies in.
pub(in super::super) fn batch_of(arrived: Arrived) -> i64 {
    int(arrived.0 >> ROW_BITS)
}

pub(super) async fn since(
    db: &mut PgConnection,
    filter: &LogFilter,
    after: Arrived,
    most: usize,
) -> Result<News, RecordError> {
    let most = most.min(PAGE_ROWS_MAX);
    let mut news = News { rows: Vec::new(), next: after, more: false };
    let batches = sqlx::query(
        "SELECT sequence, first, last, rows FROM log_arrivals WHERE sequence >= $1 ORDER BY sequence LIMIT 1000",
    )
    .bind(batch_of(after))
    .fetch_all(&mut *db)
    .await?;
    let mut looked_at = 0;
    for batch in &batches {
        let batch = Columns(batch);
        let sequence = batch.number("sequence")?;
        if news.rows.len() == most || looked_at >= LOOKED_AT_MAX {
            return Ok(News { next: place(sequence, 0).max(after), more: true, ..news });
        }
        looked_at += batch.count("rows")?;
        let skipped =
            if sequence as u64 == after.0 >> ROW_BITS { after.0 & ((1 << ROW_BITS) - 1) } else { 0 };
        let mut query = sqlx::QueryBuilder::new(
            "SELECT * FROM (SELECT *, row_number() OVER (ORDER BY place, id) - 1 AS number FROM requests WHERE batch = ",
        );
        query.push_bind(sequence);
        query.push(" AND place BETWEEN ").push_bind(batch.number("first")?);
        query.push(" AND ").push_bind(batch.number("last")?);
        query.push(") AS batch WHERE number >= ").push_bind(int(skipped));
        matching(&mut query, filter);
        // One more than is wanted tells whether there is one.
        query.push(" ORDER BY number LIMIT ").push_bind(int((most - news.rows.len()) as u64 + 1));
        for row in query.build().fetch_all(&mut *db).await? {
            let row = Columns(&row);
            if news.rows.len() == most {
                return Ok(News { next: place(sequence, row.count("number")?), more: true, ..news });
            }
            news.rows.push(logged(&row)?);
        }
        news.next = place(sequence + 1, 0);
    }
    news.more = batches.len() == 1_000;
    Ok(news)
}
