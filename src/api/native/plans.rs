//! `/v1/plans`: what the configuration offers.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

use super::Problem;
use super::call::Call;
use super::page::Part;
use super::views::CapsView;
use crate::admin::access::Deed;

/// A plan.
#[derive(Serialize, ToSchema)]
pub(super) struct Plan {
    name: String,
    caps: CapsView,
}

/// List the plans, in the order of the configuration.
#[utoipa::path(get, path = "/v1/plans", tag = "plans",
    extensions(("x-tollgate-deed" = json!("read-plans"))),
    responses((status = 200, description = "The plans", body = Part<Plan>)))]
pub(super) async fn list(call: Call) -> Result<Json<Part<Plan>>, Problem> {
    call.may(Deed::ReadPlans)?;
    let plans = call.arrival.config.plans.iter();
    let plans = plans.map(|plan| Plan { name: plan.name.clone(), caps: plan.caps.into() });
    Ok(Json(Part::whole(plans.collect())))
}
