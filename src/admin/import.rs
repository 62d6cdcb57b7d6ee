//! Importing keys that were made elsewhere, of which only the digest is known: an existing user base moves in.
//!
//! From the first of them on, what is sent as a key may have any shape, and the checksum of our own keys no longer
//! saves a lookup; so this is the operator's to do.

use ahash::AHashMap;

use super::keys::DEFAULT_CATEGORY;
use super::{Actor, Admin, AdminError, fields, random};
use crate::domain::id::KeyId;
use crate::domain::key::{Key, Organization};
use crate::domain::limit::{Quotas, SpendLimit};
use crate::domain::secret::Digest;
use crate::domain::time::Timestamp;
use crate::stores::record::NewKey;

/// Most rows of one import: it is one transaction.
pub const IMPORT_ROWS_MAX: usize = 100_000;
/// Most characters of a prefix or hint that came along.
const SHOWN_CHARS_MAX: usize = 32;

/// One key to be imported.
#[derive(Clone, Debug, Default)]
pub struct ImportRow {
    /// The organization, by id or name.
    pub organization: String,
    /// SHA-256 of the whole key as it is sent, in hexadecimal.
    pub sha256: String,
    /// The alias.
    pub name: String,
    /// The project, by id or name; `None` is the organization's default project.
    pub project: Option<String>,
    /// `None` is `production`.
    pub category: Option<String>,
    /// What the key begins with, for people.
    pub prefix: Option<String>,
    /// What the key ends with, for people: at most four characters.
    pub hint: Option<String>,
    /// `read`, `write`; empty is both.
    pub scopes: Vec<String>,
    /// `None` is active.
    pub active: Option<bool>,
    /// When it ends by itself. A time gone by is one that has ended.
    pub expires_at: Option<Timestamp>,
    /// Networks in CIDR or single addresses; empty is everywhere.
    pub allowed_ips: Vec<String>,
    /// Rolling caps.
    pub quotas: Quotas,
    /// A calendar cap.
    pub limit: Option<SpendLimit>,
}

impl Admin {
    /// Makes all these keys, or none.
    ///
    /// # Errors
    /// What is wrong, by the position of the row.
    pub async fn import_keys(
        &self,
        rows: &[ImportRow],
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Vec<Key>, Vec<(usize, AdminError)>> {
        self.import(rows, false, actor, now).await
    }

    /// What stands in the way of importing these, by the position of the row. Nothing is made.
    pub async fn check_import(
        &self,
        rows: &[ImportRow],
        actor: &Actor,
        now: Timestamp,
    ) -> Vec<(usize, AdminError)> {
        self.import(rows, true, actor, now).await.err().unwrap_or_default()
    }

    async fn import(
        &self,
        rows: &[ImportRow],
        dry: bool,
        actor: &Actor,
        now: Timestamp,
    ) -> Result<Vec<Key>, Vec<(usize, AdminError)>> {
        if rows.is_empty() || rows.len() > IMPORT_ROWS_MAX {
            let advice = format!("give 1 to {IMPORT_ROWS_MAX} rows at a time");
            return Err(vec![(0, AdminError::invalid("keys", advice))]);
        }
        let (mut new, mut places) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        let (mut organizations, mut seen, mut wrong) = (AHashMap::new(), AHashMap::new(), Vec::new());
        for (at, row) in rows.iter().enumerate() {
            match self.imported(row, &mut organizations).await {
                Ok(key) => match seen.get(&key.digest) {
                    None => {
                        seen.insert(key.digest, &row.name);
                        new.push(key);
                        places.push(at);
                    }
                    Some(first) => {
                        let advice =
                            format!("is that of `{}` before it, too: remove one", first.escape_debug());
                        wrong.push((at, AdminError::invalid("sha256", advice)));
                    }
                },
                Err(error) => wrong.push((at, error)),
            }
        }
        // The record is asked all the same, so that everything that is wrong is told at once.
        let made = match self.record.import_keys(&new, dry || !wrong.is_empty(), actor, now).await {
            Ok(made) => made,
            Err(more) => {
                let place = |at: usize| places.get(at).copied().unwrap_or_default();
                wrong.extend(more.into_iter().map(|(at, error)| (place(at), error.into())));
                Vec::new()
            }
        };
        if !wrong.is_empty() {
            wrong.sort_by_key(|(at, _)| *at);
            return Err(wrong);
        }
        if !dry {
            self.catch_up().await;
        }
        Ok(made)
    }

    async fn imported(
        &self,
        row: &ImportRow,
        organizations: &mut AHashMap<String, Organization>,
    ) -> Result<NewKey, AdminError> {
        let organization = match organizations.get(&row.organization) {
            Some(known) => known.id.clone(),
            None => {
                let found = self.record.organization(&row.organization).await?;
                let id = found.id.clone();
                organizations.insert(row.organization.clone(), found);
                id
            }
        };
        let project = match &row.project {
            Some(named) => Some(self.project(&organization, named).await?),
            None => None,
        };
        Ok(NewKey {
            id: KeyId(random::uuid()?),
            digest: digest(&row.sha256)?,
            sealed: None,
            organization,
            project,
            name: fields::name("name", &row.name)?,
            category: fields::name("category", row.category.as_deref().unwrap_or(DEFAULT_CATEGORY))?,
            prefix: shown("prefix", row.prefix.as_deref(), SHOWN_CHARS_MAX)?,
            hint: shown("hint", row.hint.as_deref(), 4)?,
            scopes: fields::scopes(&row.scopes)?,
            active: row.active.unwrap_or(true),
            expires_at: row.expires_at,
            allowed_ips: fields::networks(&row.allowed_ips)?,
            quotas: fields::quotas(row.quotas)?,
            limit: fields::limit(row.limit)?,
            created_by: None,
        })
    }
}

fn digest(hex: &str) -> Result<Digest, AdminError> {
    let wrong = || AdminError::invalid("sha256", "write the SHA-256 of the key as 64 hexadecimal digits");
    let hex = hex.trim();
    if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut digest = [0; 32];
    for (byte, digits) in digest.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        *byte = u8::from_str_radix(digits, 16).map_err(|_| wrong())?;
    }
    Ok(Digest(digest))
}

/// A part of a key that people may see, which must not be the most of it.
fn shown(field: &'static str, text: Option<&str>, most: usize) -> Result<String, AdminError> {
    let text = text.unwrap_or_default();
    if text.chars().count() > most || text.chars().any(char::is_control) {
        return Err(AdminError::invalid(field, format!("give at most {most} characters of the key")));
    }
    Ok(text.to_owned())
}
