//! Handing a batch to the record, around rows that the record will never take.
//!
//! A row that is refused for what it holds would be refused again for ever, and everything behind it would wait. So
//! a refused batch is halved until the refused rows stand alone; these are lost, counted, and said.

use crate::domain::id::RequestId;
use crate::stores::record::{LogRecord, RecordError, Shipment};

/// Ships a batch; how many of its rows the record refused. Where it fails otherwise, part of it may have been taken:
/// send it again.
pub(super) async fn deliver(record: &dyn LogRecord, shipment: &mut Shipment) -> Result<u64, RecordError> {
    match record.ship(shipment).await {
        Err(RecordError::Refused(_)) if !shipment.rows.is_empty() => {}
        shipped => return shipped.map(|()| 0),
    }
    let mut lost = 0;
    let mut first: Option<(RequestId, String)> = None;
    let mut parts = vec![std::mem::take(&mut shipment.rows)];
    while let Some(rows) = parts.pop() {
        let part = Shipment { spool: shipment.spool, rows, ..Shipment::default() };
        match record.ship(&part).await {
            Ok(()) => {}
            Err(RecordError::Refused(reason)) => {
                if let (Some(id), 1) = (part.rows.id(0), part.rows.len()) {
                    lost += 1;
                    first.get_or_insert((id, reason));
                } else {
                    let (earlier, later) = part.rows.halves();
                    parts.extend([later, earlier]);
                }
            }
            Err(error) => return Err(error),
        }
    }
    // Only now: until here it may all have to be sent again.
    record.ship(shipment).await?;
    if let Some((request, reason)) = first {
        tracing::error!(lost, first = %request, reason, "rows of the request log are lost: the record refuses them");
    }
    Ok(lost)
}
