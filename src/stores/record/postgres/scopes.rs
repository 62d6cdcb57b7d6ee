//! Scopes: whose requests a sum counts, by number.

use ahash::AHashMap;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::columns::Columns;
use crate::domain::row::RowRef;
use crate::stores::record::RecordError;
use crate::stores::record::reports::Scope;

/// The number of the scope that every row is in.
pub(super) const EVERYTHING: i32 = 1;
/// The number of the scope of rows whose caller stayed unknown.
const NOBODY: i32 = 2;
/// Scopes whose numbers are remembered. Beyond, all are forgotten, and looked up as they come.
const KNOWN_MAX: usize = 200_000;

/// The scopes that a row is in, beside [`EVERYTHING`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Scopes {
    /// That of its organization and key, or that of nobody.
    pub own: i32,
    /// That of its organization.
    pub organization: Option<i32>,
}

/// Numbers that are known to whoever writes the log; forgotten with its connection where a transaction fails.
#[derive(Debug, Default)]
pub(super) struct Known(AHashMap<(i16, Uuid, String), i32>);

impl Known {
    /// Looks up the scopes of `rows`, and gives numbers to those that have none.
    pub(super) async fn learn(
        &mut self,
        tx: &mut PgConnection,
        rows: &[&RowRef<'_>],
    ) -> Result<(), RecordError> {
        if self.0.len() >= KNOWN_MAX {
            self.0.clear();
        }
        let mut missing: Vec<_> = rows
            .iter()
            .filter_map(|row| names(row))
            .flatten()
            .filter(|name| !self.0.contains_key(name))
            .collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        // Two statements, as one does not see what it inserts.
        let arguments = |sql: &'static str| {
            sqlx::query(sql)
                .bind(missing.iter().map(|name| name.0).collect::<Vec<_>>())
                .bind(missing.iter().map(|name| name.1).collect::<Vec<_>>())
                .bind(missing.iter().map(|name| name.2.clone()).collect::<Vec<_>>())
        };
        let insert = arguments(
            "INSERT INTO scopes (kind, key, organization) SELECT * FROM unnest($1::smallint[], $2::uuid[], $3::text[])
             ON CONFLICT DO NOTHING",
        );
        let select = arguments(
            "SELECT number, kind, key, organization FROM scopes
             WHERE (kind, key, organization) IN (SELECT * FROM unnest($1::smallint[], $2::uuid[], $3::text[]))",
        );
        insert.execute(&mut *tx).await?;
        for row in select.fetch_all(tx).await? {
            use sqlx::Row as _;
            let name = (row.try_get("kind")?, row.try_get("key")?, row.try_get("organization")?);
            self.0.insert(name, row.try_get("number")?);
        }
        Ok(())
    }

    /// The scopes of a row that was learnt.
    pub(super) fn of(&self, row: &RowRef<'_>) -> Result<Scopes, RecordError> {
        let Some([own, organization]) = names(row) else {
            return Ok(Scopes { own: NOBODY, organization: None });
        };
        let number = |name| {
            let missing = || RecordError::Corrupt("a scope that was just made is not there".into());
            self.0.get(&name).copied().ok_or_else(missing)
        };
        Ok(Scopes { own: number(own)?, organization: Some(number(organization)?) })
    }
}

/// What the scopes of a row are known by.
fn names(row: &RowRef<'_>) -> Option<[(i16, Uuid, String); 2]> {
    let organization = row.organization?;
    let key = row.key.map_or(Uuid::nil(), |key| key.0);
    Some([(0, key, organization.to_owned()), (1, Uuid::nil(), organization.to_owned())])
}

/// The number of a scope; `None` where nothing was ever logged of it.
pub(super) async fn number_of(db: &mut PgConnection, scope: &Scope) -> Result<Option<i32>, RecordError> {
    let query = match scope {
        Scope::Everything => return Ok(Some(EVERYTHING)),
        Scope::Key(key) if key.0.is_nil() => return Ok(None),
        Scope::Key(key) => {
            sqlx::query("SELECT number FROM scopes WHERE kind = 0 AND key = $1 AND organization <> ''")
                .bind(key.0)
        }
        Scope::Organization(organization) => {
            sqlx::query("SELECT number FROM scopes WHERE kind = 1 AND organization = $1")
                .bind(organization.as_str())
        }
    };
    let row = query.fetch_optional(db).await?;
    row.map(|row| Columns(&row).scope("number")).transpose()
}
