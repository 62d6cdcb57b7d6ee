//! `/v1/keys/import`: keys that were made elsewhere, of which only the digest is known.

use axum::response::Response;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Problem;
use super::body::{Input, instant};
use super::call::Call;
use super::once::{Made, once};
use super::problem::RowProblem;
use super::views::{KeyView, LimitView, QuotasView};
use crate::admin::access::Deed;
use crate::admin::{AdminError, ImportRow};
use crate::domain::limit::Quotas;

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

/// A key that was made elsewhere, of which only the digest is known.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ImportedKey {
    /// Id or name.
    organization: String,
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
        let rows =
            keys.into_iter().enumerate().map(|(at, key)| key.row(at)).collect::<Result<Vec<_>, _>>()?;
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
    fn row(self, at: usize) -> Result<ImportRow, Problem> {
        let expires_at = |text: &str| instant(&format!("keys[{at}].expires_at"), text);
        Ok(ImportRow {
            expires_at: self.expires_at.as_deref().map(expires_at).transpose()?,
            organization: self.organization,
            sha256: self.sha256,
            name: self.name,
            project: self.project,
            category: self.category,
            prefix: self.prefix,
            hint: self.hint,
            scopes: self.scopes,
            active: self.active,
            allowed_ips: self.allowed_ips,
            quotas: self.quotas.map(Quotas::from).unwrap_or_default(),
            limit: self.limits.map(Into::into),
        })
    }
}
