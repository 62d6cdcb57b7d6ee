//! What people ask of the log, answered from `usage`, `log_blocks` and `log_sheets`.
//!
//! | question | reads |
//! |---|---|
//! | totals, tiers, domains, errors | at most a day of five-minute sums at either end of the span, and a row per day between |
//! | series | a row per point, or per five minutes where points are hours |
//! | a page | as many blocks as hold it, and its rows |
//! | a page by its number | the heads of the blocks before and behind it; with a filter, their entries |

mod news;
mod pages;
mod readers;
pub(super) mod rows;
mod sums;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _};

pub(super) use self::readers::Readers;
use super::SqliteRecord;
use super::names::EVERYTHING;
use crate::domain::id::RequestId;
use crate::stores::record::RecordError;
use crate::stores::record::reports::{
    Arrived, Failures, LogFilter, LogPage, LoggedRow, News, NumberedPage, Place, Point, ReportRecord, Scope,
    Share, Span, Step, Totals,
};

/// The number of a scope; `None` where nothing was ever logged of it.
pub(super) fn number_of(db: &Connection, scope: &Scope) -> Result<Option<u32>, RecordError> {
    let find = |kind: u8, key: &[u8], organization: Option<&str>| {
        let sql = "SELECT number FROM scopes WHERE kind = ?1 AND key = ?2 AND organization = coalesce(?3, organization)";
        db.query_row(sql, (kind, key, organization), |row| row.get(0)).optional()
    };
    Ok(match scope {
        Scope::Key(key) => find(0, key.0.as_bytes(), None)?,
        Scope::Organization(organization) => find(1, &[], Some(organization.as_str()))?,
        Scope::Everything => Some(EVERYTHING),
    })
}

#[async_trait]
impl ReportRecord for SqliteRecord {
    async fn totals(&self, scope: &Scope, span: Span) -> Result<Totals, RecordError> {
        let scope = scope.clone();
        self.log_readers.ask(move |db| sums::totals(db, &scope, span)).await
    }

    async fn series(&self, scope: &Scope, span: Span, step: Step) -> Result<Vec<Point>, RecordError> {
        let scope = scope.clone();
        self.log_readers.ask(move |db| sums::series(db, &scope, span, step)).await
    }

    async fn by_tier(&self, scope: &Scope, span: Span) -> Result<Vec<Share>, RecordError> {
        let scope = scope.clone();
        self.log_readers.ask(move |db| sums::by_tier(db, &scope, span)).await
    }

    async fn top_domains(&self, scope: &Scope, span: Span, most: usize) -> Result<Vec<Share>, RecordError> {
        let scope = scope.clone();
        self.log_readers.ask(move |db| sums::top_domains(db, &scope, span, most)).await
    }

    async fn errors(&self, scope: &Scope, span: Span) -> Result<Vec<Failures>, RecordError> {
        let scope = scope.clone();
        self.log_readers.ask(move |db| sums::errors(db, &scope, span)).await
    }

    async fn log_page(
        &self,
        filter: &LogFilter,
        before: Option<Place>,
        most: usize,
    ) -> Result<LogPage, RecordError> {
        let filter = filter.clone();
        self.log_readers.ask(move |db| pages::before(db, &filter, before, most)).await
    }

    async fn log_numbered(
        &self,
        filter: &LogFilter,
        page: u64,
        size: usize,
    ) -> Result<NumberedPage, RecordError> {
        let filter = filter.clone();
        self.log_readers.ask(move |db| pages::numbered(db, &filter, page, size)).await
    }

    async fn log_news(&self, filter: &LogFilter, after: Arrived, most: usize) -> Result<News, RecordError> {
        let filter = filter.clone();
        self.log_readers.ask(move |db| news::since(db, &filter, after, most)).await
    }

    async fn log_end(&self) -> Result<Arrived, RecordError> {
        self.log_readers.ask(news::end).await
    }

    async fn log_row(&self, id: RequestId) -> Result<Option<LoggedRow>, RecordError> {
        self.log_readers.ask(move |db| rows::of(db, id)).await
    }
}
