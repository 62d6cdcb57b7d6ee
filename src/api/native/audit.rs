//! `/v1/audit`: who did what.

use axum::Json;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use super::body::Asked;
use super::call::Call;
use super::page::{self, Part};
use crate::admin::access::Deed;
use crate::stores::record::{AuditEntry, AuditFilter};

/// A part of the trail.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// The organization, by id or name; without it, the caller's own; `*` is everything, for operators.
    organization: Option<String>,
    /// What was done to this alone: the id of a key, user, project, organization.
    subject: Option<String>,
    /// The `next` of the part before.
    after: Option<String>,
    /// Most entries of the part; 50 where nothing is said.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
}

/// One change.
#[derive(Serialize, ToSchema)]
pub(super) struct Entry {
    id: i64,
    at: String,
    /// A user's id, `cli`, or `demo`.
    who: String,
    /// The address it came from; empty for the command line.
    from: String,
    /// Such as `key.revoke`.
    what: String,
    /// The id of what it was done to.
    subject: String,
    organization: Option<String>,
    /// What it was before; null where there was nothing.
    #[schema(value_type = Option<Object>)]
    before: Option<Box<RawValue>>,
    /// What it was after; null where nothing is left.
    #[schema(value_type = Option<Object>)]
    after: Option<Box<RawValue>>,
}

/// Read the audit trail, newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", params(Query),
    extensions(("x-tollgate-deed" = json!("read-audit"))),
    responses((status = 200, description = "A part of the trail", body = Part<Entry>)))]
pub(super) async fn list(call: Call, Asked(query): Asked<Query>) -> Result<Json<Part<Entry>>, Problem> {
    let organization = if query.organization.as_deref() == Some("*") {
        // What belongs to nobody, such as a login, is the operator's to see.
        call.may(Deed::ManageUsers)?;
        None
    } else {
        Some(call.enter(Deed::ReadAudit, query.organization.as_deref()).await?.id)
    };
    let page = page::asked(query.after.as_deref(), query.limit, |id| id.parse().ok())?;
    let filter = AuditFilter { organization, subject: query.subject };
    let entries = call.record().audit(&filter, &page).await?;
    Ok(Json(Part::of(&page, entries, |last| last.id.to_string(), |entry| entry.into())))
}

impl From<&AuditEntry> for Entry {
    fn from(entry: &AuditEntry) -> Self {
        let json = |text: &Option<String>| text.clone().and_then(|text| RawValue::from_string(text).ok());
        Self {
            id: entry.id,
            at: entry.at.to_string(),
            who: entry.actor.who.clone(),
            from: entry.actor.from.clone(),
            what: entry.what.clone(),
            subject: entry.subject.clone(),
            organization: entry.organization.as_ref().map(ToString::to_string),
            before: json(&entry.before),
            after: json(&entry.after),
        }
    }
}
