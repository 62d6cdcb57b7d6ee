//! Rows as older versions left them, each a row of a table: moved into sheets by whoever opens the file first.

use std::borrow::Cow;
use std::net::IpAddr;

use rusqlite::{Connection, Row as Columns, TransactionBehavior};
use uuid::Uuid;

use super::columns::{key_id, unreadable};
use super::log_take::{Counted, Room, take_rows};
use super::names::Names;
use super::sheets::go_on_from;
use crate::domain::cost::{Cost, CostSource, Outcome};
use crate::domain::id::RequestId;
use crate::domain::row::Row;
use crate::domain::time::Timestamp;
use crate::stores::record::RecordError;

/// Rows that are moved in one transaction.
const ROWS: i64 = 20_000;

/// Rows of a batch had numbers of this many bits in the order in which they came in.
const ROW_BITS: u32 = 20;

/// Moves what is there, oldest first, and drops the tables. What was moved before a crash stays moved.
pub(super) fn take_over(db: &mut Connection, names: &mut Names) -> Result<(), RecordError> {
    loop {
        let tx = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (rows, last) = oldest(&tx)?;
        if let Some(last) = last {
            take_rows(&tx, names, &rows.into(), &mut Room::default(), Counted::Before)?;
            tx.execute("DELETE FROM old_requests WHERE place <= ?", [last])?;
            tx.commit()?;
            continue;
        }
        let arrived: Option<i64> =
            tx.query_row("SELECT max(sequence) FROM old_arrivals", [], |row| row.get(0))?;
        if let Some(arrived) = arrived {
            // Who follows the log goes on with what comes from now on.
            go_on_from(&tx, (arrived + 1) << ROW_BITS)?;
        }
        tx.execute_batch("DROP TABLE old_requests; DROP TABLE old_arrivals")?;
        return Ok(tx.commit()?);
    }
}

fn oldest(db: &Connection) -> Result<(Vec<Row<'static>>, Option<i64>), RecordError> {
    let text = |column: &str| {
        format!(
            "CASE typeof(r.{column}) WHEN 'integer' THEN (SELECT text FROM names WHERE number = r.{column})
             ELSE r.{column} END"
        )
    };
    let texts = ["project", "method", "path", "code", "tier", "domain", "target", "user_agent"].map(text);
    let mut found = db.prepare(&format!(
        "SELECT {}, r.id, r.at, s.organization, s.key, r.admitted, r.outcome, r.credits, r.microcents, r.cost_source,
                r.status, r.first_byte_micros, r.total_micros, r.bytes_in, r.bytes_out, r.address, r.place
         FROM old_requests r JOIN scopes s ON s.number = r.scope ORDER BY r.place LIMIT ?",
        texts.join(", ")
    ))?;
    let mut found = found.query([ROWS])?;
    let (mut rows, mut last) = (Vec::new(), None);
    while let Some(columns) = found.next()? {
        rows.push(read(columns)?);
        last = Some(columns.get(23)?);
    }
    Ok((rows, last))
}

fn read(columns: &Columns<'_>) -> Result<Row<'static>, RecordError> {
    let text = |column: usize| columns.get::<_, Option<String>>(column).map(|text| text.map(Cow::Owned));
    let number = |column: usize| columns.get::<_, i64>(column).map(|number| number.max(0) as u64);
    let organization: String = columns.get(10)?;
    let key: Vec<u8> = columns.get(11)?;
    let outcome = columns.get::<_, Option<u8>>(13)?;
    let address: Vec<u8> = columns.get(22)?;
    let source = CostSource::ALL.get(number(16)? as usize).copied();
    Ok(Row {
        id: RequestId(Uuid::from_bytes(columns.get(8)?)),
        at: Timestamp::from_micros(number(9)?),
        organization: Some(organization).filter(|text| !text.is_empty()).map(Cow::Owned),
        project: text(0)?,
        key: if key.is_empty() { None } else { Some(key_id(&key)?) },
        admitted: columns.get(12)?,
        method: text(1)?.unwrap_or_default(),
        path: text(2)?.unwrap_or_default(),
        status: number(17)? as u16,
        code: text(3)?.unwrap_or_default(),
        outcome: outcome
            .map(|outcome| {
                Outcome::ALL.get(usize::from(outcome)).copied().ok_or_else(|| unreadable("outcome"))
            })
            .transpose()?,
        first_byte_micros: number(18)?,
        total_micros: number(19)?,
        address: address_of(&address).ok_or_else(|| unreadable("address"))?,
        cost: Cost { credits: number(14)?, microcents: number(15)? },
        cost_source: source.ok_or_else(|| unreadable("cost_source"))?,
        tier: text(4)?,
        domain: text(5)?,
        bytes_in: number(20)?,
        bytes_out: number(21)?,
        target: text(6)?,
        user_agent: text(7)?,
        job: None,
    })
}

fn address_of(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}
