//! `/v1/keys/import`: keys that were made elsewhere, of which only the digest is known.

use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::body::Input;
use super::call::Call;
use super::once::{Made, once};
use super::problem::RowProblem;
use super::views::{KeyView, LimitView, QuotasView};
use crate::admin::access::Deed;
use crate::admin::{AdminError, ImportRow};
use crate::domain::limit::Quotas;
use crate::domain::time::Timestamp;

/// Most rows of one import over this API; the command line takes more.
const ROWS_MAX: usize = 10_000;

/// Keys that were made elsewhere.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Import {
    /// At most 10,000; all are made, or none.
    #[schema(min_items = 1, max_items = 10000)]
    keys: Vec<ImportedKey>,
}

/// A key that was made elsewhere, of which only the digest is known: an item of a call, or a line of a file.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportedKey {
    /// Id or name. A file's lines may leave it out where its reader is told of one.
    #[schema(value_type = String, required = true)]
    organization: Option<String>,
    /// SHA-256 of the whole key as clients send it, in hexadecimal.
    #[schema(pattern = "^[0-9a-fA-F]{64}$")]
    sha256: String,
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    project: Option<String>,
    #[schema(min_length = 1, max_length = 100)]
    category: Option<String>,
    /// What the key begins with, for people.
    prefix: Option<String>,
    /// What the key ends with, for people.
    hint: Option<String>,
    #[serde(default)]
    scopes: Vec<String>,
    active: Option<bool>,
    /// RFC 3339.
    expires_at: Option<String>,
    #[serde(default)]
    allowed_ips: Vec<String>,
    quotas: Option<QuotasView>,
    limits: Option<LimitView>,
}

/// What an import made.
#[derive(Serialize, ToSchema)]
pub(super) struct Imported {
    /// In the order of the rows.
    keys: Vec<KeyView>,
}

/// Import keys of which only the digest is known: all, or none and what is wrong with each row.
#[utoipa::path(post, path = "/v1/keys/import", tag = "keys", request_body = Import,
    extensions(("x-tollgate-deed" = json!("import-keys")), ("x-tollgate-once" = json!(true))),
    responses((status = 201, description = "All were made", body = Imported)))]
pub(super) async fn import(call: Call, input: Input) -> Result<Response, Problem> {
    call.may(Deed::ImportKeys)?;
    once(&call, "/v1/keys/import", &input, async || {
        let Import { keys } = input.read()?;
        if keys.is_empty() || keys.len() > ROWS_MAX {
            return Err(Problem::invalid("keys", format!("give 1 to {ROWS_MAX} keys at a time")));
        }
        let wrong = |at: usize, (field, why)| Problem::invalid(format!("keys[{at}].{field}"), why);
        let row = |(at, key): (usize, ImportedKey)| key.row(None).map_err(|error| wrong(at, error));
        let rows = keys.into_iter().enumerate().map(row).collect::<Result<Vec<_>, _>>()?;
        let made = call.admin().import_keys(&rows, &call.actor(), call.now()).await.map_err(not_imported)?;
        let keys = made.iter().map(|key| KeyView::new(key, None)).collect();
        Ok(Made::new("/v1/keys".to_owned(), None, &Imported { keys }))
    })
    .await
}

/// What is wrong, by row; where the record cannot be asked, nothing is wrong with any row.
fn not_imported(wrong: Vec<(usize, AdminError)>) -> Problem {
    let rows: Vec<_> =
        wrong.iter().map(|(row, error)| RowProblem { row: *row, detail: error.to_string() }).collect();
    let worst = wrong.into_iter().map(|(_, error)| Problem::from(error)).find(Problem::is_ours);
    worst.unwrap_or_else(|| {
        let detail = format!("{} of the rows cannot be imported, so none was", rows.len());
        Problem::invalid("keys", detail).with_rows(rows)
    })
}

impl ImportedKey {
    /// What is to be imported, for `otherwise` where it names no organization.
    ///
    /// # Errors
    /// The field that is wrong, and why.
    pub fn row(self, otherwise: Option<&str>) -> Result<ImportRow, (&'static str, String)> {
        let organization = self.organization.or_else(|| otherwise.map(str::to_owned));
        let expires_at = self.expires_at.as_deref().map(Timestamp::parse).transpose();
        Ok(ImportRow {
            organization: organization.ok_or_else(|| ("organization", "name one".to_owned()))?,
            sha256: self.sha256,
            name: self.name,
            project: self.project,
            category: self.category,
            prefix: self.prefix,
            hint: self.hint,
            scopes: self.scopes,
            active: self.active,
            expires_at: expires_at.map_err(|why| ("expires_at", why))?,
            allowed_ips: self.allowed_ips,
            quotas: self.quotas.map(Quotas::from).unwrap_or_default(),
            limit: self.limits.map(Into::into),
        })
    }
}
