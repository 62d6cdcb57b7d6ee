//! AzScraper's bodies, field by field as its pages show them.

use serde::Serialize;
use utoipa::ToSchema;

use crate::admin::Login;
use crate::domain::key::Key;
use crate::domain::people::User;
use crate::domain::secret::Secret;
use crate::domain::time::Timestamp;

/// `2026-06-01T09:00:00.000Z`
fn millis(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// A key in the list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = azscraper::ListedKey)]
pub(super) struct ListedKey {
    id: String,
    name: String,
    /// The last 4 characters.
    key_hint: String,
    created_at: String,
    #[schema(required)]
    last_used_at: Option<String>,
}

/// The list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = azscraper::KeyList)]
pub(super) struct KeyList {
    pub data: Vec<ListedKey>,
}

/// A key as it is made.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = azscraper::MadeKey)]
pub(super) struct MadeKey {
    id: String,
    name: String,
    /// Only in this answer.
    key: String,
    created_at: String,
}

/// The answer that makes a key.
#[derive(Serialize, ToSchema)]
#[schema(as = azscraper::Made)]
pub(super) struct Made {
    pub data: MadeKey,
}

/// `{"success": true}`
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = azscraper::Success)]
pub(super) struct Success {
    success: bool,
}

/// Who is logged in.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = azscraper::Session)]
pub(super) struct Session {
    access_token: String,
    user: UserBody,
}

/// A user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = azscraper::UserBody)]
struct UserBody {
    id: String,
    email: String,
    name: String,
}

/// The answer to a login.
#[derive(Serialize, ToSchema)]
#[schema(as = azscraper::LoggedIn)]
pub(super) struct LoggedIn {
    data: Session,
}

impl From<&Key> for ListedKey {
    fn from(key: &Key) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name.clone(),
            key_hint: key.hint.clone(),
            created_at: millis(key.created_at),
            last_used_at: key.last_used_at.map(millis),
        }
    }
}

impl Made {
    pub(super) fn of(key: &Key, secret: &Secret) -> Self {
        let data = MadeKey {
            id: key.id.to_string(),
            name: key.name.clone(),
            key: secret.expose().to_owned(),
            created_at: millis(key.created_at),
        };
        Self { data }
    }
}

impl Success {
    pub(super) const YES: Self = Self { success: true };
}

impl LoggedIn {
    pub(super) fn of(login: Login, user: &User) -> Self {
        // People have no other names here.
        let name = user.email.split_once('@').map_or(&*user.email, |(local, _)| local).to_owned();
        let user = UserBody { id: user.id.to_string(), email: user.email.clone(), name };
        Self { data: Session { access_token: login.token, user } }
    }
}
