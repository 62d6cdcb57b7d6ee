//! `tollgate verify`: whether the sums of the record are those of its rows.
//!
//! Sums are what usage is shown from, and what a gateway rebuilds its counters from when it starts. The counters of a
//! gateway that runs are in its own memory, or in Redis, and are not compared: what is mended here they take up at
//! the next start. Where a gateway answers at `control.listen`, that is said.
//!
//! Exit 0: no drift, or all of it mended. 1: drift.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::output::{Output, or, table};
use crate::domain::time::Timestamp;
use crate::stores::record::reports::Totals;
use crate::stores::record::upkeep::{DRIFTS_MAX, Drift, Summed, Verified, Whose};

/// How long a gateway may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// Set every sum that differs to what the rows say.
    #[arg(long)]
    repair: bool,
}

#[derive(Serialize)]
struct VerifiedWire {
    ok: bool,
    rows: u64,
    sums: u64,
    drifted: u64,
    repaired: u64,
    /// A gateway that counts in its own memory and is running.
    running: bool,
    drifts: Vec<DriftWire>,
}

#[derive(Serialize)]
struct DriftWire {
    /// `key`, `without_key`, `organization` (all of it), `unknown` (callers) or `everything`.
    whose: &'static str,
    organization: Option<String>,
    key: Option<String>,
    sum: &'static str,
    at: Option<String>,
    recorded: TotalsWire,
    actual: TotalsWire,
}

#[derive(Serialize)]
struct TotalsWire {
    admitted: u64,
    refused: u64,
    success: u64,
    credits: u64,
    microcents: u64,
}

pub(super) async fn run(asked: Verify, context: &Context, json: bool) -> Result<ExitCode, Failure> {
    let (verified, ok) = verified(context, asked.repair).await?;
    let running = answers(context.config.control.listen);
    let wire = VerifiedWire {
        ok,
        rows: verified.rows,
        sums: verified.sums,
        drifted: verified.drifted,
        repaired: verified.repaired,
        running,
        drifts: verified.drifts.iter().map(DriftWire::of).collect(),
    };
    let printed = Output::new(text(&verified, running), &wire).print(json)?;
    Ok(if ok { printed } else { ExitCode::FAILURE })
}

/// What was found, and whether no drift is left. One comparison rests on the other, so that repairing goes on until
/// nothing is found or nothing can be mended any more.
async fn verified(context: &Context, repair: bool) -> Result<(Verified, bool), Failure> {
    let mut all = Verified::default();
    loop {
        let found = context.record().verify(repair).await?;
        (all.rows, all.sums) = (found.rows, found.sums);
        all.drifted += found.drifted;
        all.repaired += found.repaired;
        let room = DRIFTS_MAX.saturating_sub(all.drifts.len());
        all.drifts.extend(found.drifts.into_iter().take(room));
        if found.drifted == 0 || !repair || found.repaired == 0 {
            return Ok((all, found.drifted == 0));
        }
    }
}

fn text(verified: &Verified, running: bool) -> String {
    let Verified { rows, sums, drifted, repaired, drifts } = verified;
    let mut parts =
        vec![format!("{sums} sums compared with {rows} rows: {drifted} differ, {repaired} repaired")];
    if !drifts.is_empty() {
        let lines: Vec<_> = drifts.iter().map(line).collect();
        parts.push(table(["WHOSE", "ORGANIZATION", "KEY", "SUM", "FROM", "RECORDED", "ROWS SAY"], &lines));
    }
    let untold = drifted.saturating_sub(drifts.len() as u64);
    if untold > 0 {
        parts.push(format!("and {untold} more"));
    }
    if drifted > repaired && *repaired == 0 {
        parts.push("run `tollgate verify --repair` to set them to what the rows say".to_owned());
    } else if *repaired > 0 && running {
        let advice =
            "the gateway that is running has counters of its own and takes this up when it starts again";
        parts.push(advice.to_owned());
    }
    parts.join("\n")
}

fn line(drift: &Drift) -> [String; 7] {
    let (sum, at) = named(drift.sum);
    let (whose, organization, key) = told(&drift.whose);
    let counts = |totals: &Totals| {
        let Totals { admitted, refused, success, cost, .. } = totals;
        format!("{admitted} admitted, {refused} refused, {success} success, {} cr", cost.credits)
    };
    [
        whose.to_owned(),
        or(organization, "-"),
        or(key, "-"),
        sum.to_owned(),
        or(at, "-"),
        counts(&drift.recorded),
        counts(&drift.actual),
    ]
}

const fn named(sum: Summed) -> (&'static str, Option<Timestamp>) {
    match sum {
        Summed::Cell(at) => ("5m", Some(at)),
        Summed::Day(at) => ("day", Some(at)),
        Summed::Total => ("total", None),
    }
}

/// What kind of sum it is, and whose.
fn told(whose: &Whose) -> (&'static str, Option<String>, Option<String>) {
    match whose {
        Whose::Key(organization, Some(key)) => ("key", Some(organization.to_string()), Some(key.to_string())),
        Whose::Key(organization, None) => ("without_key", Some(organization.to_string()), None),
        Whose::Organization(organization) => ("organization", Some(organization.to_string()), None),
        Whose::Nobody => ("unknown", None, None),
        Whose::Everything => ("everything", None, None),
    }
}

impl DriftWire {
    fn of(drift: &Drift) -> Self {
        let (sum, at) = named(drift.sum);
        let (whose, organization, key) = told(&drift.whose);
        let totals = |totals: &Totals| TotalsWire {
            admitted: totals.admitted,
            refused: totals.refused,
            success: totals.success,
            credits: totals.cost.credits,
            microcents: totals.cost.microcents,
        };
        Self {
            whose,
            organization,
            key,
            sum,
            at: at.map(|at| at.to_string()),
            recorded: totals(&drift.recorded),
            actual: totals(&drift.actual),
        }
    }
}

/// Whether a gateway is alive at `control`.
fn answers(control: SocketAddr) -> bool {
    let asked = || {
        let mut stream = TcpStream::connect_timeout(&control, ANSWER_WITHIN)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: tollgate\r\nConnection: close\r\n\r\n")?;
        let mut status = [0; 12];
        stream.read_exact(&mut status)?;
        Ok::<_, std::io::Error>(status == *b"HTTP/1.1 200")
    };
    control.port() != 0 && asked().unwrap_or(false)
}
