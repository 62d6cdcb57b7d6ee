//! Who calls, and what for.

use axum::Extension;
use axum::extract::{FromRequestParts, Path};
use http::HeaderMap;
use http::header::{AUTHORIZATION, HeaderName};
use http::request::Parts;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use super::{Native, Problem, problem};
use crate::admin::access::{Caller, Deed, may};
use crate::admin::{Admin, Credential};
use crate::api::arrival::Arrival;
use crate::domain::id::OrgId;
use crate::domain::key::{Key, Organization};
use crate::domain::people::{Project, Session, User};
use crate::domain::time::Timestamp;
use crate::stores::record::{Actor, SharedRecord};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A call by somebody who is known.
pub(super) struct Call {
    pub caller: Caller,
    pub arrival: Arrival,
    pub headers: HeaderMap,
    pub native: Native,
}

impl FromRequestParts<Native> for Call {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, native: &Native) -> Result<Self, Problem> {
        let Extension(arrival) = arrival(parts).await?;
        let shown = credential(&parts.headers)?;
        let caller = native.admin.identify(shown, arrival.client, arrival.at).await?;
        Ok(Self { caller, arrival, headers: parts.headers.clone(), native: native.clone() })
    }
}

impl Call {
    pub fn admin(&self) -> &Admin {
        &self.native.admin
    }

    pub fn record(&self) -> &SharedRecord {
        self.native.admin.record()
    }

    pub fn now(&self) -> Timestamp {
        self.arrival.at
    }

    pub fn actor(&self) -> Actor {
        self.caller.actor(self.arrival.client)
    }

    /// That the caller may do what is about no organization.
    pub fn may(&self, deed: Deed) -> Result<(), Problem> {
        Ok(may(&self.caller, deed, None)?)
    }

    /// The person that calls.
    pub fn person(&self, deed: Deed) -> Result<(&User, &Session), Problem> {
        self.may(deed)?;
        match &self.caller {
            Caller::Person { user, session } => Ok((user, session)),
            Caller::Key(_) => Err(crate::admin::access::Denied::Keys.into()),
        }
    }

    /// The organization that is meant, where the caller may do this.
    pub async fn enter(&self, deed: Deed, named: Option<&str>) -> Result<Organization, Problem> {
        Ok(self.admin().enter(&self.caller, deed, named).await?)
    }

    /// The id of the organization that is meant.
    pub async fn enter_id(&self, deed: Deed, named: &str) -> Result<OrgId, Problem> {
        Ok(self.enter(deed, Some(named)).await?.id)
    }

    pub async fn key(&self, deed: Deed, id: &str) -> Result<Key, Problem> {
        Ok(self.admin().reach_key(&self.caller, deed, id).await?)
    }

    pub async fn project(&self, deed: Deed, id: &str) -> Result<Project, Problem> {
        Ok(self.admin().reach_project(&self.caller, deed, id).await?)
    }
}

/// Where a thing is made.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Where {
    /// The organization, by id or name; without it, the caller's own.
    organization: Option<String>,
}

impl Where {
    /// The id of the organization, where the caller may do this.
    pub async fn enter(&self, call: &Call, deed: Deed) -> Result<OrgId, Problem> {
        Ok(call.enter(deed, self.organization.as_deref()).await?.id)
    }
}

/// How a request came: both listeners say so of every request.
pub(super) async fn arrival(parts: &mut Parts) -> Result<Extension<Arrival>, Problem> {
    Extension::from_request_parts(parts, &()).await.map_err(|_| Problem::busy("this call came from nowhere"))
}

/// What the caller shows. `Authorization` decides where it is there, so that nobody can say who is meant by sending
/// both.
fn credential(headers: &HeaderMap) -> Result<Credential<'_>, Problem> {
    let once = |name: HeaderName| {
        let mut values = headers.get_all(name).into_iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Ok(Some(value.to_str().unwrap_or_default().trim())),
            (Some(_), Some(_)) => Err(Problem::unauthorized("ambiguous_credentials", "send one credential")),
        }
    };
    if let Some(value) = once(AUTHORIZATION)? {
        let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
        if scheme.eq_ignore_ascii_case("bearer") {
            return Ok(Credential::Either(rest.trim()));
        }
        return Err(Problem::unauthorized(
            "invalid_token",
            "send `Authorization: Bearer` with a session token",
        ));
    }
    let missing = || Problem::unauthorized("missing_token", "log in at POST /v1/session, and send the token");
    once(API_KEY)?.map(Credential::Key).ok_or_else(missing)
}

/// The parameters of a path. What cannot be read is not there.
pub(super) struct Named<T>(pub T);

impl<T: DeserializeOwned + Send> FromRequestParts<Native> for Named<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, native: &Native) -> Result<Self, Problem> {
        match Path::<T>::from_request_parts(parts, native).await {
            Ok(Path(named)) => Ok(Self(named)),
            Err(_) => Err(problem::no_route().await),
        }
    }
}
