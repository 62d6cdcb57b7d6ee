//! `/v1/keys`: API keys, made, listed, read, changed and removed.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::Problem;
use super::body::{Asked, Input, given, instant};
use super::call::{Call, Named, Where};
use super::once::{Made, once};
use super::page::{self, Part};
use super::problem::RowProblem;
use super::tag::{seen, tag};
use super::views::{KeyView, LimitView, QuotasView};
use crate::admin::access::Deed;
use crate::admin::{AdminError, ImportRow, KeyChange, KeyOrder};
use crate::domain::id::KeyId;
use crate::domain::key::Key;
use crate::domain::limit::Quotas;
use crate::domain::time::Timestamp;
use crate::stores::record::seen_key;

/// Most rows of one import over this API; the command line takes more.
const ROWS_MAX: usize = 10_000;

/// A part of a list.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    /// The organization, by id or name; without it, the caller's own.
    organization: Option<String>,
    /// Revoked ones too.
    #[serde(default)]
    revoked: bool,
    /// The `next` of the part before.
    after: Option<String>,
    /// Most entries of the part; 50 where nothing is said.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
}

/// A key to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// Unique in the organization among keys that are not revoked.
    #[schema(min_length = 1, max_length = 100)]
    name: String,
    /// The project, by id or name; without it, the default one.
    project: Option<String>,
    /// `production` where nothing is said.
    #[schema(min_length = 1, max_length = 100)]
    category: Option<String>,
    /// `read`, `write`; both where nothing is said.
    #[serde(default)]
    scopes: Vec<String>,
    /// RFC 3339, to come.
    expires_at: Option<String>,
    /// Networks in CIDR or single addresses; everywhere where nothing is said.
    #[serde(default)]
    allowed_ips: Vec<String>,
    quotas: Option<QuotasView>,
    limits: Option<LimitView>,
}

/// A change to a key. What is left out stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyPatch {
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    /// A project of the same organization, by id or name.
    project: Option<String>,
    #[schema(min_length = 1, max_length = 100)]
    category: Option<String>,
    scopes: Option<Vec<String>>,
    /// RFC 3339, to come; null is never.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    expires_at: Option<Option<String>>,
    /// Empty is everywhere.
    allowed_ips: Option<Vec<String>>,
    /// All four together.
    quotas: Option<QuotasView>,
    /// Null removes the limit.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<LimitView>)]
    limits: Option<Option<LimitView>>,
}

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

/// List keys, oldest first.
#[utoipa::path(get, path = "/v1/keys", tag = "keys", params(Query),
    extensions(("x-tollgate-deed" = json!("read-keys"))),
    responses((status = 200, description = "A part of the list", body = Part<KeyView>)))]
pub(super) async fn list(call: Call, Asked(query): Asked<Query>) -> Result<Json<Part<KeyView>>, Problem> {
    let org = call.enter(Deed::ReadKeys, query.organization.as_deref()).await?.id;
    let page = page::asked(query.after.as_deref(), query.limit, place)?;
    let keys = call.record().keys_page(&org, query.revoked, &page).await?;
    let place = |last: &Key| format!("{}.{}", last.created_at.micros(), last.id);
    Ok(Json(Part::of(&page, keys, place, |key| KeyView::new(key, None))))
}

fn place(text: &str) -> Option<(Timestamp, KeyId)> {
    let (at, id) = text.split_once('.')?;
    Some((Timestamp::from_micros(at.parse().ok()?), KeyId(Uuid::try_parse(id).ok()?)))
}

/// Make a key. Its secret is in this answer, and nowhere else.
#[utoipa::path(post, path = "/v1/keys", tag = "keys", params(Where), request_body = NewKey,
    extensions(("x-tollgate-deed" = json!("manage-keys")), ("x-tollgate-once" = json!(true))),
    responses((status = 201, description = "Made", body = KeyView)))]
pub(super) async fn create(
    call: Call,
    Asked(place): Asked<Where>,
    input: Input,
) -> Result<Response, Problem> {
    let org = place.enter(&call, Deed::ManageKeys).await?;
    once(&call, &format!("/v1/keys?organization={org}"), &input, async || {
        let new: NewKey = input.read()?;
        let order = KeyOrder {
            organization: org.to_string(),
            project: new.project,
            name: new.name,
            category: new.category,
            expires_at: new.expires_at.as_deref().map(|at| instant("expires_at", at)).transpose()?,
            quotas: new.quotas.map(Quotas::from).unwrap_or_default(),
            limit: new.limits.map(Into::into),
            scopes: new.scopes,
            allowed_ips: new.allowed_ips,
            created_by: call.caller.person().map(|user| user.id),
        };
        let (key, secret) = call.admin().create_key(&order, &call.actor(), call.now()).await?;
        Ok(Made::new(
            format!("/v1/keys/{}", key.id),
            Some(seen_key(&key)),
            &KeyView::new(&key, Some(&secret)),
        ))
    })
    .await
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

/// Read a key, revoked or not.
#[utoipa::path(get, path = "/v1/keys/{key}", tag = "keys",
    params(("key" = String, Path, description = "The key's id")),
    extensions(("x-tollgate-deed" = json!("read-keys"))),
    responses((status = 200, description = "The key", body = KeyView,
        headers(("ETag" = String, description = "Its settings, for If-Match")))))]
pub(super) async fn read(call: Call, Named(id): Named<String>) -> Result<Response, Problem> {
    Ok(shown(&call.key(Deed::ReadKeys, &id).await?))
}

/// Change a key: rename it, move it to another project, set its category, scopes, end, networks, quotas, limits.
#[utoipa::path(patch, path = "/v1/keys/{key}", tag = "keys",
    params(("key" = String, Path, description = "The key's id"),
        ("If-Match" = Option<String>, Header, description = "The ETag of what is changed")),
    request_body = KeyPatch,
    extensions(("x-tollgate-deed" = json!("manage-keys"))),
    responses((status = 200, description = "Changed", body = KeyView,
        headers(("ETag" = String, description = "Its settings, for If-Match")))))]
pub(super) async fn edit(call: Call, Named(id): Named<String>, input: Input) -> Result<Response, Problem> {
    let key = call.key(Deed::ManageKeys, &id).await?;
    let patch: KeyPatch = input.read()?;
    let ends = |end: Option<String>| end.as_deref().map(|at| instant("expires_at", at)).transpose();
    let change = KeyChange {
        name: patch.name,
        category: patch.category,
        project: patch.project,
        scopes: patch.scopes,
        expires_at: patch.expires_at.map(ends).transpose()?,
        allowed_ips: patch.allowed_ips,
        active: None,
        quotas: patch.quotas.map(Into::into),
        limit: patch.limits.map(|limit| limit.map(Into::into)),
        seen: seen(&call.headers, seen_key(&key))?,
    };
    Ok(shown(&call.admin().edit_key(key.id, &change, &call.actor(), call.now()).await?))
}

/// Remove a key that was never used; one that was is revoked instead.
#[utoipa::path(delete, path = "/v1/keys/{key}", tag = "keys",
    params(("key" = String, Path, description = "The key's id")),
    extensions(("x-tollgate-deed" = json!("manage-keys"))),
    responses((status = 204, description = "Removed")))]
pub(super) async fn delete(call: Call, Named(id): Named<String>) -> Result<StatusCode, Problem> {
    let key = call.key(Deed::ManageKeys, &id).await?;
    call.admin().delete_key(key.id, &call.actor(), call.now()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A key, with what a change of it may be made to match.
pub(super) fn shown(key: &Key) -> Response {
    (tag(&seen_key(key)), Json(KeyView::new(key, None))).into_response()
}
