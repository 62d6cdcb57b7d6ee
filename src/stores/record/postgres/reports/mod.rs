//! What people ask of the log, answered from `usage` and `requests`.
//!
//! | question | reads |
//! |---|---|
//! | totals, tiers, domains, errors | at most a day of five-minute sums at either end of the span, and a row per day between |
//! | series | a row per point, or per five minutes where points are hours |
//! | a page | its rows, by an index of the scope; with a filter, at most [`pages::LOOKED_AT_MAX`] rows |
//! | a page by its number | an index of the scope, counted through; with a filter, the rows of the scope |

pub(super) mod news;
mod pages;
pub(super) mod rows;
mod sums;

use async_trait::async_trait;

use super::PostgresRecord;
use crate::domain::id::RequestId;
use crate::stores::record::RecordError;
use crate::stores::record::reports::{
    Arrived, Failures, LogFilter, LogPage, LoggedRow, News, NumberedPage, Place, Point, ReportRecord, Scope,
    Share, Span, Step, Totals,
};

#[async_trait]
impl ReportRecord for PostgresRecord {
    async fn totals(&self, scope: &Scope, span: Span) -> Result<Totals, RecordError> {
        self.within(async { sums::totals(&mut *self.pool.acquire().await?, scope, span).await }).await
    }

    async fn series(&self, scope: &Scope, span: Span, step: Step) -> Result<Vec<Point>, RecordError> {
        self.within(async { sums::series(&mut *self.pool.acquire().await?, scope, span, step).await }).await
    }

    async fn by_tier(&self, scope: &Scope, span: Span) -> Result<Vec<Share>, RecordError> {
        self.within(async { sums::by_tier(&mut *self.pool.acquire().await?, scope, span).await }).await
    }

    async fn top_domains(&self, scope: &Scope, span: Span, most: usize) -> Result<Vec<Share>, RecordError> {
        self.within(async { sums::top_domains(&mut *self.pool.acquire().await?, scope, span, most).await })
            .await
    }

    async fn errors(&self, scope: &Scope, span: Span) -> Result<Vec<Failures>, RecordError> {
        self.within(async { sums::errors(&mut *self.pool.acquire().await?, scope, span).await }).await
    }

    async fn log_page(
        &self,
        filter: &LogFilter,
        before: Option<Place>,
        most: usize,
    ) -> Result<LogPage, RecordError> {
        self.within(async { pages::before(&mut *self.pool.acquire().await?, filter, before, most).await })
            .await
    }

    async fn log_numbered(
        &self,
        filter: &LogFilter,
        page: u64,
        size: usize,
    ) -> Result<NumberedPage, RecordError> {
        self.within(async { pages::numbered(&mut *self.pool.acquire().await?, filter, page, size).await })
            .await
    }

    async fn log_news(&self, filter: &LogFilter, after: Arrived, most: usize) -> Result<News, RecordError> {
        self.within(async { news::since(&mut *self.pool.acquire().await?, filter, after, most).await }).await
    }

    async fn log_end(&self) -> Result<Arrived, RecordError> {
        self.within(async { news::end(&mut *self.pool.acquire().await?).await }).await
    }

    async fn log_row(&self, id: RequestId) -> Result<Option<LoggedRow>, RecordError> {
        self.within(async { rows::of(&mut *self.pool.acquire().await?, id).await }).await
    }
}
