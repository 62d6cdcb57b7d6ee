//! Lists, part by part: `?after=` is the `next` of the part before, `?limit=` how long a part is at most.
//!
//! What a cursor holds is the list's business and may change: clients give it back as they got it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use crate::stores::record::Page;

/// Entries of a part where nothing is said.
const LIMIT: usize = 50;
/// Most entries of a part.
const LIMIT_MAX: usize = 200;

/// Which part of a list is wanted, where nothing else is asked.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Turn {
    /// The `next` of the part before.
    after: Option<String>,
    /// Most entries of the part; 50 where nothing is said.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<usize>,
}

impl Turn {
    /// The part, as [`asked`].
    pub fn page<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Result<Page<T>, Problem> {
        asked(self.after.as_deref(), self.limit, read)
    }
}

/// A part of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Part<T: ToSchema> {
    /// The entries, in the list's order.
    items: Vec<T>,
    /// Give it as `after` to get the next part; null at the end of the list.
    next: Option<String>,
}

/// The part that is asked for; an empty `after` is the beginning. One more entry is read than is given, to see whether there are more.
pub(super) fn asked<T>(
    after: Option<&str>,
    limit: Option<usize>,
    read: impl FnOnce(&str) -> Option<T>,
) -> Result<Page<T>, Problem> {
    let most = limit.unwrap_or(LIMIT);
    if most == 0 || most > LIMIT_MAX {
        return Err(Problem::invalid("limit", format!("give a number from 1 to {LIMIT_MAX}")));
    }
    let wrong = || Problem::invalid("after", "give the `next` of an earlier answer as it was");
    let after = after.filter(|text| !text.is_empty());
    let after = after.map(|text| cursor(text).as_deref().and_then(read).ok_or_else(wrong)).transpose()?;
    Ok(Page { after, most: most + 1 })
}

fn cursor(text: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

impl<T: ToSchema> Part<T> {
    /// What is given of what was read for `page`; `place` is what the next part comes after.
    pub fn of<D, C>(
        page: &Page<C>,
        mut read: Vec<D>,
        place: impl FnOnce(&D) -> String,
        view: impl FnMut(&D) -> T,
    ) -> Self {
        let more = read.len() == page.most;
        if more {
            read.pop();
        }
        let next = read.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(place(last)));
        Self { items: read.iter().map(view).collect(), next }
    }

    /// What was read up to `place`, which is none at the end.
    pub fn until(items: Vec<T>, place: Option<String>) -> Self {
        Self { items, next: place.map(|place| URL_SAFE_NO_PAD.encode(place)) }
    }

    /// All there is.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next: None }
    }
}
