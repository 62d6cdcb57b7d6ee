//! Sums of the log, gathered per batch, and read and written in one statement each.
//!
//! A row is counted once, in the five minutes of its key; what its organization, everything and their days get is
//! added up from those when the batch is done. Whoever changes a sum has the turn of the log ([`super::log::turn`]).

use std::collections::BTreeMap;

use ahash::AHashMap;
use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Postgres, Row as _};

use super::columns::{Columns, int, opt_micros, unreadable};
use super::scopes::{EVERYTHING, Scopes};
use crate::domain::cost::{Cost, Outcome};
use crate::domain::id::KeyId;
use crate::domain::row::RowRef;
use crate::domain::time::Timestamp;
use crate::stores::record::RecordError;
use crate::stores::record::cells::Width;
use crate::stores::record::parts::{self, Count, Name, Part, Parts};
use crate::stores::record::reports::Totals;

/// Which row of `usage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Of {
    pub scope: i32,
    pub width: Width,
    pub cell: u64,
}

/// A row of `usage`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Sum<'a> {
    pub totals: Totals,
    pub parts: Parts<'a>,
}

/// What one batch adds.
#[derive(Default)]
pub(super) struct Sums<'a> {
    /// By the own scope of rows, and their five minutes.
    cells: AHashMap<(Scopes, u64), Totals>,
    parts: AHashMap<(Scopes, u64, Part<'a>), Count>,
    keys: BTreeMap<KeyId, KeyUsage<'a>>,
}

#[derive(Default)]
struct KeyUsage<'a> {
    organization: &'a str,
    admitted: u64,
    rows: u64,
    last_admitted: Option<Timestamp>,
}

impl<'a> Sums<'a> {
    /// Counts a row.
    pub(super) fn add(&mut self, row: &RowRef<'a>, scopes: Scopes) {
        let cell = Width::Cell.cell_of(row.at);
        self.cells.entry((scopes, cell)).or_default().add(&Totals::of(row));
        let count = Count::of(row);
        for part in parts_of(row).into_iter().flatten() {
            self.parts.entry((scopes, cell, part)).or_default().add(&count);
        }
        // Nobody pays for a caller that stayed unknown, so no key is counted for it.
        if let (Some(key), Some(organization)) = (row.key, row.organization) {
            let usage = self.keys.entry(key).or_insert(KeyUsage { organization, ..KeyUsage::default() });
            usage.rows += 1;
            usage.admitted += u64::from(row.admitted);
            usage.last_admitted = usage.last_admitted.max(row.admitted.then_some(row.at));
        }
    }

    /// Adds what was gathered to the tables.
    pub(super) async fn write(self, tx: &mut PgConnection) -> Result<(), RecordError> {
        add_keys(&self.keys).execute(&mut *tx).await?;
        let mut sums = BTreeMap::<Of, Sum<'a>>::new();
        for ((scopes, cell), totals) in self.cells {
            for of in sums_of(scopes, cell).into_iter().flatten() {
                sums.entry(of).or_default().totals.add(&totals);
            }
        }
        for ((scopes, cell, part), count) in self.parts {
            for of in sums_of(scopes, cell).into_iter().flatten() {
                sums.entry(of).or_default().parts.push((part, count));
            }
        }
        let which: Vec<_> = sums.keys().copied().collect();
        let stored = get(&which).fetch_all(&mut *tx).await?;
        put(&add(sums, &stored)?).execute(tx).await?;
        Ok(())
    }
}

/// Adds what is stored. In this program and not in SQL, so that what is too large for a column saturates.
fn add<'a>(
    mut sums: BTreeMap<Of, Sum<'a>>,
    stored: &'a [PgRow],
) -> Result<BTreeMap<Of, Sum<'a>>, RecordError> {
    for row in stored {
        if let Some(sum) = sums.get_mut(&of(&Columns(row))?) {
            sum.totals.add(&totals(&Columns(row))?);
            parts::decode(row.try_get("parts")?, &mut sum.parts).ok_or_else(|| unreadable("usage.parts"))?;
        }
    }
    sums.values_mut().for_each(|sum| parts::settle(&mut sum.parts));
    Ok(sums)
}

/// The rows of `usage` that count what falls into five minutes of some scopes.
fn sums_of(scopes: Scopes, cell: u64) -> [Option<Of>; 6] {
    let day = Width::Day.cell_of(Width::Cell.start(cell));
    let of = |scope| [Of { scope, width: Width::Cell, cell }, Of { scope, width: Width::Day, cell: day }];
    let [own, own_day] = of(scopes.own).map(Some);
    let [all, all_day] = of(EVERYTHING).map(Some);
    let [organization, organization_day] =
        scopes.organization.map_or([None; 2], |organization| of(organization).map(Some));
    [own, own_day, organization, organization_day, all, all_day]
}

/// The parts of a sum that one row is counted in.
pub(super) fn parts_of<'a>(row: &RowRef<'a>) -> [Option<Part<'a>>; 3] {
    let failed = row.outcome != Some(Outcome::Success);
    let code = Some(row.code).filter(|code| !code.is_empty()).map(Name::Text);
    [
        row.tier.map(|tier| Part::Tier(Some(Name::Text(tier)))),
        row.domain.map(|domain| Part::Domain(Some(Name::Text(domain)))),
        failed.then_some(Part::Failure(row.status, code)),
    ]
}

type Statement = Query<'static, Postgres, PgArguments>;

/// Which row of `usage` this is.
pub(super) fn of(row: &Columns<'_>) -> Result<Of, RecordError> {
    let width = if row.scope("width")? == Width::Day as i32 { Width::Day } else { Width::Cell };
    Ok(Of { scope: row.scope("scope")?, width, cell: row.count("cell")? })
}

/// The nine columns of totals.
pub(super) fn totals(row: &Columns<'_>) -> Result<Totals, RecordError> {
    Ok(Totals {
        admitted: row.count("admitted")?,
        refused: row.count("refused")?,
        success: row.count("success")?,
        cost: Cost { credits: row.count("credits")?, microcents: row.count("microcents")? },
        first_byte_micros: row.count("first_byte_micros")?,
        total_micros: row.count("total_micros")?,
        bytes_in: row.count("bytes_in")?,
        bytes_out: row.count("bytes_out")?,
    })
}

/// Reads rows of `usage`.
pub(super) fn get(which: &[Of]) -> Statement {
    sqlx::query(
        "SELECT usage.* FROM usage JOIN unnest($1::integer[], $2::integer[], $3::bigint[]) AS asked (scope, width, cell)
         USING (scope, width, cell)",
    )
    .bind(which.iter().map(|of| of.scope).collect::<Vec<_>>())
    .bind(which.iter().map(|of| of.width as i32).collect::<Vec<_>>())
    .bind(which.iter().map(|of| int(of.cell)).collect::<Vec<_>>())
}

/// Writes rows of `usage`, in the place of what is there.
pub(super) fn put(sums: &BTreeMap<Of, Sum<'_>>) -> Statement {
    let column =
        |of: fn(&Totals) -> u64| -> Vec<i64> { sums.values().map(|sum| int(of(&sum.totals))).collect() };
    sqlx::query(
        "INSERT INTO usage (scope, width, cell, admitted, refused, success, credits, microcents,
             first_byte_micros, total_micros, bytes_in, bytes_out, parts)
         SELECT * FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
             $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bytea[])
         ON CONFLICT (scope, width, cell) DO UPDATE SET
             admitted = excluded.admitted, refused = excluded.refused, success = excluded.success,
             credits = excluded.credits, microcents = excluded.microcents,
             first_byte_micros = excluded.first_byte_micros, total_micros = excluded.total_micros,
             bytes_in = excluded.bytes_in, bytes_out = excluded.bytes_out, parts = excluded.parts",
    )
    .bind(sums.keys().map(|of| of.scope).collect::<Vec<_>>())
    .bind(sums.keys().map(|of| of.width as i32).collect::<Vec<_>>())
    .bind(sums.keys().map(|of| int(of.cell)).collect::<Vec<_>>())
    .bind(column(|totals| totals.admitted))
    .bind(column(|totals| totals.refused))
    .bind(column(|totals| totals.success))
    .bind(column(|totals| totals.cost.credits))
    .bind(column(|totals| totals.cost.microcents))
    .bind(column(|totals| totals.first_byte_micros))
    .bind(column(|totals| totals.total_micros))
    .bind(column(|totals| totals.bytes_in))
    .bind(column(|totals| totals.bytes_out))
    .bind(sums.values().map(|sum| parts::encode(&sum.parts)).collect::<Vec<_>>())
}

fn add_keys(keys: &BTreeMap<KeyId, KeyUsage<'_>>) -> Statement {
    sqlx::query(
        "INSERT INTO key_usage (key, organization, requests, rows, last_used_at)
         SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
         ON CONFLICT (key) DO UPDATE SET
             requests = key_usage.requests + excluded.requests, rows = key_usage.rows + excluded.rows,
             last_used_at = greatest(key_usage.last_used_at, excluded.last_used_at)",
    )
    .bind(keys.keys().map(|key| key.0).collect::<Vec<_>>())
    .bind(keys.values().map(|usage| usage.organization.to_owned()).collect::<Vec<_>>())
    .bind(keys.values().map(|usage| int(usage.admitted)).collect::<Vec<_>>())
    .bind(keys.values().map(|usage| int(usage.rows)).collect::<Vec<_>>())
    .bind(keys.values().map(|usage| opt_micros(usage.last_admitted)).collect::<Vec<_>>())
}
