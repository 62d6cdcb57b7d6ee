//! Proving that sums are the sums of what they are sums of. The server compares; what differs comes here.
//!
//! **Deliberately absent:** a comparison of what sums divide into (tiers, domains, kinds of failure). A sum that is set
//! right gets its parts anew, too.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

use super::super::columns::{Columns, int, unreadable};
use super::super::log::turn;
use super::super::log_sums::{Of, Sum, parts_of, put, totals};
use super::super::reports::rows::logged;
use super::super::scopes::EVERYTHING;
use crate::domain::cost::Cost;
use crate::domain::id::{KeyId, OrgId};
use crate::stores::record::RecordError;
use crate::stores::record::cells::Width;
use crate::stores::record::parts::{self, Count};
use crate::stores::record::places::{first_place, time_of};
use crate::stores::record::reports::Totals;
use crate::stores::record::upkeep::{DRIFTS_MAX, Drift, Summed, Whose};

/// What is compared with what below it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Level {
    /// Cells of keys with rows.
    Cells,
    /// Cells of organizations with those of their keys.
    Organizations,
    /// Cells of everything with those of keys.
    Everything,
    /// Days with cells.
    Days,
    /// Totals of keys with their days.
    Totals,
}

/// From the bottom up.
pub(super) const LEVELS: [Level; 5] =
    [Level::Cells, Level::Organizations, Level::Everything, Level::Days, Level::Totals];

/// What one level showed.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub rows: u64,
    pub sums: u64,
    pub drifted: u64,
    /// The first [`DRIFTS_MAX`].
    pub drifts: Vec<Wrong>,
}

/// A drift, and where it is.
#[derive(Debug)]
pub(super) struct Wrong {
    pub told: Drift,
    level: Level,
    scope: i32,
    cell: u64,
}

/// The columns of totals.
const COLUMNS: [&str; 9] = [
    "admitted",
    "refused",
    "success",
    "credits",
    "microcents",
    "first_byte_micros",
    "total_micros",
    "bytes_in",
    "bytes_out",
];

/// The five minutes of keys, counted from the rows.
const ROWS: &str = "SELECT number AS scope, at / 300000000 AS cell,
        count(*) FILTER (WHERE admitted) AS admitted, count(*) FILTER (WHERE NOT admitted) AS refused,
        count(*) FILTER (WHERE outcome = 0) AS success, sum(credits) AS credits, sum(microcents) AS microcents,
        coalesce(sum(first_byte_micros) FILTER (WHERE admitted), 0) AS first_byte_micros,
        coalesce(sum(total_micros) FILTER (WHERE admitted), 0) AS total_micros,
        sum(bytes_in) AS bytes_in, sum(bytes_out) AS bytes_out
     FROM requests r JOIN scopes s ON s.kind = 0 AND s.organization = coalesce(r.organization, '')
          AND s.key = CASE WHEN r.organization IS NULL THEN '00000000-0000-0000-0000-000000000000'
                           ELSE coalesce(r.key, '00000000-0000-0000-0000-000000000000') END
     WHERE at >= $1 * 300000000 GROUP BY 1, 2";

/// Compares one level.
pub(super) async fn level(db: &mut PgConnection, level: Level) -> Result<Found, RecordError> {
    let (rows, cells) = removed(db).await?;
    if level == Level::Totals {
        return key_totals(db).await;
    }
    let sums = COLUMNS.map(|name| format!("sum({name}) AS {name}")).join(", ");
    let recorded = |kind: i32| {
        format!(
            "SELECT u.* FROM usage u JOIN scopes ON number = scope AND kind = {kind} WHERE width = 300 AND cell >= $1"
        )
    };
    let from_keys = |scope: &str, join: &str| {
        format!(
            "SELECT {scope} AS scope, cell, {sums} FROM usage u JOIN scopes own ON own.number = u.scope AND own.kind = 0
             {join} WHERE width = 300 AND cell >= $1 GROUP BY 1, 2"
        )
    };
    let (actual, recorded, first) = match level {
        Level::Cells => (ROWS.to_owned(), recorded(0), rows),
        Level::Organizations => {
            let join = "JOIN scopes o ON o.kind = 1 AND o.organization = own.organization";
            (from_keys("o.number", join), recorded(1), cells)
        }
        Level::Everything => (from_keys(&EVERYTHING.to_string(), ""), recorded(2), cells),
        Level::Days | Level::Totals => {
            let days = format!(
                "SELECT scope, cell / 288 AS cell, {sums} FROM usage WHERE width = 300 AND cell >= $1 * 288 GROUP BY 1, 2"
            );
            let recorded = "SELECT * FROM usage WHERE width = 86400 AND cell >= $1".to_owned();
            (days, recorded, cells.unsigned_abs().div_ceil(288).cast_signed())
        }
    };
    compare(db, level, &actual, &recorded, first).await
}

/// The first cells of five minutes of which all rows, and all cells, are there.
async fn removed(db: &mut PgConnection) -> Result<(i64, i64), RecordError> {
    let row = sqlx::query("SELECT rows, cells FROM log_removed").fetch_one(db).await?;
    let (rows, cells) = (Columns(&row).number("rows")?, Columns(&row).number("cells")?);
    // A row counts when it was admitted, which is a little later than it arrived.
    let rows = if rows == 0 { 0 } else { int(Width::Cell.cell_of(time_of(rows))) + 2 };
    Ok((rows.max(cells), cells))
}

async fn compare(
    db: &mut PgConnection,
    level: Level,
    actual: &str,
    recorded: &str,
    first: i64,
) -> Result<Found, RecordError> {
    let same = COLUMNS
        .map(|name| format!("least(coalesce(a.{name}, 0), {max}) = coalesce(r.{name}, 0)", max = i64::MAX));
    let same = same.join(" AND ");
    let both = format!("FROM ({actual}) a FULL JOIN ({recorded}) r USING (scope, cell)");
    let counts = format!(
        "SELECT coalesce(sum(a.admitted + a.refused), 0)::bigint AS rows, count(*) AS sums,
                count(*) FILTER (WHERE NOT ({same})) AS drifted {both}"
    );
    let row = sqlx::query(AssertSqlSafe(counts)).bind(first).fetch_one(&mut *db).await?;
    let row = Columns(&row);
    let mut found = Found { sums: row.count("sums")?, drifted: row.count("drifted")?, ..Found::default() };
    if level == Level::Cells {
        found.rows = row.count("rows")?;
    }
    if found.drifted == 0 {
        return Ok(found);
    }
    let of = |side: &str| {
        COLUMNS
            .map(|name| {
                format!("least(coalesce({side}.{name}, 0), {max})::bigint AS {side}_{name}", max = i64::MAX)
            })
            .join(", ")
    };
    let drifts = format!(
        "SELECT b.*, kind, key, organization FROM (SELECT scope, cell, {}, {} {both} WHERE NOT ({same})) b
         JOIN scopes ON number = scope ORDER BY scope, cell LIMIT {DRIFTS_MAX}",
        of("a"),
        of("r")
    );
    for row in sqlx::query(AssertSqlSafe(drifts)).bind(first).fetch_all(&mut *db).await? {
        let row = Columns(&row);
        let (scope, cell) = (row.scope("scope")?, row.count("cell")?);
        let sum = match level {
            Level::Days => Summed::Day(Width::Day.start(cell)),
            _ => Summed::Cell(Width::Cell.start(cell)),
        };
        let told =
            Drift { whose: whose(&row)?, sum, recorded: prefixed(&row, "r")?, actual: prefixed(&row, "a")? };
        found.drifts.push(Wrong { told, level, scope, cell });
    }
    Ok(found)
}

fn prefixed(row: &Columns<'_>, side: &str) -> Result<Totals, RecordError> {
    let number = |name: &str| row.count(&format!("{side}_{name}"));
    Ok(Totals {
        admitted: number("admitted")?,
        refused: number("refused")?,
        success: number("success")?,
        cost: Cost { credits: number("credits")?, microcents: number("microcents")? },
        first_byte_micros: number("first_byte_micros")?,
        total_micros: number("total_micros")?,
        bytes_in: number("bytes_in")?,
        bytes_out: number("bytes_out")?,
    })
}

fn whose(row: &Columns<'_>) -> Result<Whose, RecordError> {
    let organization = || OrgId::parse(&row.text("organization")?).map_err(RecordError::Corrupt);
    Ok(match (row.small("kind")?, row.opt_uuid("key")?) {
        (2, _) => Whose::Everything,
        (1, _) => Whose::Organization(organization()?),
        (_, None) if row.text("organization")?.is_empty() => Whose::Nobody,
        (_, key) => Whose::Key(organization()?, key.map(KeyId)),
    })
}

/// Totals of keys: days are never removed, so they can always be compared.
async fn key_totals(db: &mut PgConnection) -> Result<Found, RecordError> {
    let rows = sqlx::query(
        "SELECT key, organization, coalesce(a.admitted, 0)::bigint AS a_admitted, coalesce(a.rows, 0)::bigint AS a_rows,
                coalesce(r.requests, 0) AS r_admitted, coalesce(r.rows, 0) AS r_rows, count(*) OVER () AS drifted
         FROM (SELECT key, organization, sum(admitted) AS admitted, sum(admitted + refused) AS rows
               FROM usage JOIN scopes ON number = scope AND kind = 0 AND organization <> ''
               WHERE width = 86400 AND key <> '00000000-0000-0000-0000-000000000000' GROUP BY 1, 2) a
         FULL JOIN key_usage r USING (key, organization)
         WHERE (coalesce(a.admitted, 0), coalesce(a.rows, 0)) <> (coalesce(r.requests, 0), coalesce(r.rows, 0))
         ORDER BY key LIMIT 1000",
    )
    .fetch_all(&mut *db)
    .await?;
    let sums = sqlx::query("SELECT count(*) AS sums FROM key_usage").fetch_one(db).await?;
    let mut found = Found { sums: Columns(&sums).count("sums")?, ..Found::default() };
    for row in &rows {
        let row = Columns(row);
        let totals = |admitted: &str, rows: &str| {
            let admitted = row.count(admitted)?;
            let refused = row.count(rows)?.saturating_sub(admitted);
            Ok::<_, RecordError>(Totals { admitted, refused, ..Totals::default() })
        };
        let told = Drift {
            whose: Whose::Key(row.org("organization")?, Some(row.key_id("key")?)),
            sum: Summed::Total,
            recorded: totals("r_admitted", "r_rows")?,
            actual: totals("a_admitted", "a_rows")?,
        };
        found.drifted = row.count("drifted")?;
        found.drifts.push(Wrong { told, level: Level::Totals, scope: 0, cell: 0 });
    }
    Ok(found)
}

/// Sets what differs to what it should be, each in one short transaction in which nobody adds to it; how many were.
pub(super) async fn repair(db: &mut PgConnection, drifts: &[Wrong]) -> Result<u64, RecordError> {
    for wrong in drifts {
        let mut tx = db.begin().await?;
        turn(&mut tx).await?;
        match (&wrong.told.whose, wrong.level) {
            (Whose::Key(_, Some(key)), Level::Totals) => repair_key(&mut tx, *key).await?,
            (_, Level::Cells) => from_rows(&mut tx, wrong).await?,
            _ => from_below(&mut tx, wrong).await?,
        }
        tx.commit().await?;
    }
    Ok(drifts.len() as u64)
}

async fn repair_key(tx: &mut PgConnection, key: KeyId) -> Result<(), RecordError> {
    sqlx::query(
        "INSERT INTO key_usage (key, organization, requests, rows)
         SELECT key, organization, sum(admitted), sum(admitted + refused)
         FROM usage JOIN scopes ON number = scope AND kind = 0 AND key = $1 WHERE width = 86400 GROUP BY 1, 2
         ON CONFLICT (key) DO UPDATE SET requests = excluded.requests, rows = excluded.rows",
    )
    .bind(key.0)
    .execute(tx)
    .await?;
    Ok(())
}

/// Five minutes of a key, from its rows.
async fn from_rows(tx: &mut PgConnection, wrong: &Wrong) -> Result<(), RecordError> {
    let start = Width::Cell.start(wrong.cell);
    let day = std::time::Duration::from_secs(86_400);
    let found = sqlx::query(
        "SELECT r.* FROM requests r JOIN scopes s ON s.number = $1
              AND (s.organization = '' AND r.organization IS NULL
                   OR r.organization = s.organization AND coalesce(r.key, s.key) = s.key
                      AND (r.key IS NULL) = (s.key = '00000000-0000-0000-0000-000000000000'))
         WHERE place >= $2 AND place < $3 AND at / 300000000 = $4",
    )
    .bind(wrong.scope)
    .bind(first_place(start.minus(day)))
    .bind(first_place(start.plus(day)))
    .bind(int(wrong.cell))
    .fetch_all(&mut *tx)
    .await?;
    let rows = found.iter().map(|row| logged(&Columns(row))).collect::<Result<Vec<_>, _>>()?;
    let mut sum = Sum::default();
    for row in rows.iter().map(|logged| logged.row.as_ref()) {
        sum.totals.add(&Totals::of(&row));
        sum.parts.extend(parts_of(&row).into_iter().flatten().map(|part| (part, Count::of(&row))));
    }
    write(tx, wrong, Width::Cell, sum).await
}

/// A sum from those that it is made of.
async fn from_below(tx: &mut PgConnection, wrong: &Wrong) -> Result<(), RecordError> {
    let query = match wrong.level {
        Level::Organizations => sqlx::query(
            "SELECT u.* FROM scopes o JOIN scopes own ON own.kind = 0 AND own.organization = o.organization
             JOIN usage u ON u.scope = own.number AND width = 300 AND cell = $2 WHERE o.number = $1",
        ),
        Level::Days => {
            sqlx::query("SELECT * FROM usage WHERE scope = $1 AND width = 300 AND cell / 288 = $2")
        }
        _ => sqlx::query(
            "SELECT u.* FROM usage u JOIN scopes own ON own.number = u.scope AND own.kind = 0
             WHERE width = 300 AND cell = $2 AND $1 = $1",
        ),
    };
    let found = query.bind(wrong.scope).bind(int(wrong.cell)).fetch_all(&mut *tx).await?;
    let mut sum = Sum::default();
    for row in &found {
        sum.totals.add(&totals(&Columns(row))?);
        let bytes: &[u8] = sqlx::Row::try_get(row, "parts")?;
        parts::decode(bytes, &mut sum.parts).ok_or_else(|| unreadable("usage.parts"))?;
    }
    write(tx, wrong, if wrong.level == Level::Days { Width::Day } else { Width::Cell }, sum).await
}

async fn write(
    tx: &mut PgConnection,
    wrong: &Wrong,
    width: Width,
    mut sum: Sum<'_>,
) -> Result<(), RecordError> {
    parts::settle(&mut sum.parts);
    let of = Of { scope: wrong.scope, width, cell: wrong.cell };
    put(&BTreeMap::from([(of, sum)])).execute(tx).await?;
    Ok(())
}
