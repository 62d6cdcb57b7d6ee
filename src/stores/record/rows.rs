//! Rows of a batch on their way into the record, each read where it stands.
//!
//! A batch is thousands of rows. Made into values first, and those into what the record stores, they go through the
//! processor's cache several times over, and take it from the threads that serve. So a batch is handed on as the bytes that it was
//! written as, and each row is read when it is stored: what it has alone, and for all rows of a shape together what they have in
//! common.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::RecordError;
use crate::domain::id::RequestId;
use crate::domain::row::{Owner, Row, RowRef, Shape, Variables};

/// Where rows stand.
pub trait RowSource: Send + Sync {
    /// How many there are.
    fn count(&self) -> usize;

    /// Whose row it is that stands at `at`, which is less than [`count`](Self::count).
    fn id(&self, at: usize) -> Option<RequestId>;

    /// What the row at `at` has alone, and the numbers of what it has in common with others. `None` where it cannot be read.
    fn variables(&self, at: usize) -> Option<(Variables<'_>, Numbers)>;

    /// Whose the row at `at` is; `None` where it cannot be read.
    fn owner(&self, at: usize) -> Option<Owner<&str>>;

    /// The shape of the row at `at`; `None` where it cannot be read.
    fn shape(&self, at: usize) -> Option<Shape<&str>>;

    /// The row at `at`; `None` where it cannot be read.
    fn row(&self, at: usize) -> Option<RowRef<'_>> {
        Some(RowRef::of(self.owner(at)?, self.shape(at)?, self.variables(at)?.0))
    }
}

/// Numbers from one on, of what many rows of a source have in common: those that say the same number have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbers {
    /// Of its owner, where that has one.
    pub owner: Option<u32>,
    /// Of its shape, where that has one.
    pub shape: Option<u32>,
}

/// Owners or shapes of a batch, each read once.
pub(in crate::stores::record) struct Known<T> {
    /// By number, from one.
    numbered: Vec<Option<T>>,
    /// That of the last row which said none.
    alone: Option<T>,
}

/// Rows of a batch, or a part of them.
#[derive(Clone)]
pub struct Rows {
    source: Arc<dyn RowSource>,
    span: Range<usize>,
}

impl Rows {
    /// All rows of a source.
    pub fn of(source: Arc<impl RowSource + 'static>) -> Self {
        Self { span: 0..source.count(), source }
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.span.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.span.is_empty()
    }

    /// Whose row it is that stands at `at`.
    pub fn id(&self, at: usize) -> Option<RequestId> {
        self.source.id(self.place(at)?)
    }

    /// What the row at `at` has alone, and the numbers of what it has in common with others.
    ///
    /// # Errors
    /// [`RecordError::Refused`] where it cannot be read: it never will be.
    pub fn variables(&self, at: usize) -> Result<(Variables<'_>, Numbers), RecordError> {
        self.place(at).and_then(|at| self.source.variables(at)).ok_or_else(unreadable)
    }

    /// Whose the row at `at` is.
    ///
    /// # Errors
    /// As [`variables`](Self::variables).
    pub fn owner(&self, at: usize) -> Result<Owner<&str>, RecordError> {
        self.place(at).and_then(|at| self.source.owner(at)).ok_or_else(unreadable)
    }

    /// The shape of the row at `at`.
    ///
    /// # Errors
    /// As [`variables`](Self::variables).
    pub fn shape(&self, at: usize) -> Result<Shape<&str>, RecordError> {
        self.place(at).and_then(|at| self.source.shape(at)).ok_or_else(unreadable)
    }

    /// Every row, in their order, read one by one.
    pub fn iter(&self) -> impl Iterator<Item = Result<RowRef<'_>, RecordError>> {
        let (mut owners, mut shapes) = (Known::default(), Known::default());
        (0..self.len()).map(move |at| {
            let (variables, numbers) = self.variables(at)?;
            let owner = owners.get(numbers.owner, || self.owner(at))?;
            let shape = shapes.get(numbers.shape, || self.shape(at))?;
            Ok(RowRef::of(*owner, *shape, variables))
        })
    }

    /// All but the first `count`.
    pub fn behind(&self, count: usize) -> Self {
        Self {
            source: Arc::clone(&self.source),
            span: self.span.end.min(self.span.start + count)..self.span.end,
        }
    }

    /// The first half, and the second, which has at least as many.
    pub fn halves(&self) -> (Self, Self) {
        let middle = self.span.start + self.len() / 2;
        let half = |span| Self { source: Arc::clone(&self.source), span };
        (half(self.span.start..middle), half(middle..self.span.end))
    }

    /// Where in its source the row at `at` stands.
    fn place(&self, at: usize) -> Option<usize> {
        self.span.clone().nth(at)
    }
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self { numbered: Vec::new(), alone: None }
    }
}

impl<T> Known<T> {
    /// What has a number, or is a row's alone; made where it is not known.
    pub fn get<E>(&mut self, number: Option<u32>, make: impl FnOnce() -> Result<T, E>) -> Result<&mut T, E> {
        let slot = match number {
            None => {
                self.alone = None;
                &mut self.alone
            }
            Some(number) => {
                let number = number as usize;
                if number >= self.numbered.len() {
                    self.numbered.resize_with(number + 1, || None);
                }
                &mut self.numbered[number]
            }
        };
        Ok(match slot {
            Some(known) => known,
            none => none.insert(make()?),
        })
    }
}

fn unreadable() -> RecordError {
    RecordError::Refused("a row of the spool is not one that this program wrote".into())
}

impl Default for Rows {
    fn default() -> Self {
        Vec::new().into()
    }
}

impl From<Vec<Row<'static>>> for Rows {
    fn from(rows: Vec<Row<'static>>) -> Self {
        Self::of(Arc::new(rows))
    }
}

impl FromIterator<Row<'static>> for Rows {
    fn from_iter<I: IntoIterator<Item = Row<'static>>>(rows: I) -> Self {
        rows.into_iter().collect::<Vec<_>>().into()
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Rows").field(&self.len()).finish()
    }
}

impl RowSource for Vec<Row<'static>> {
    fn count(&self) -> usize {
        self.len()
    }

    fn id(&self, at: usize) -> Option<RequestId> {
        self.get(at).map(|row| row.id)
    }

    fn variables(&self, at: usize) -> Option<(Variables<'_>, Numbers)> {
        self.get(at).map(|row| (row.variables(), Numbers::default()))
    }

    fn owner(&self, at: usize) -> Option<Owner<&str>> {
        self.get(at).map(Row::owner)
    }

    fn shape(&self, at: usize) -> Option<Shape<&str>> {
        self.get(at).map(Row::shape)
    }
}
