//! Chapters on what the published key systems ask to be remembered.

use uuid::Uuid;

use super::upkeep::keep_from;
use super::*;

pub(crate) async fn a_notice_is_shown_once([one, two]: Handles) {
    let ann = one.create_user(&new_user("ann@example.com", "ann"), &actor(), at(0)).await.unwrap();
    let max = one.create_user(&new_user("max@example.com", "max"), &actor(), at(0)).await.unwrap();
    assert!(!two.notice_shown(ann.id, "legacy_keys").await.unwrap());
    for seconds in [1, 2] {
        one.show_notice(ann.id, "legacy_keys", &actor(), at(seconds)).await.unwrap();
    }
    assert!(two.notice_shown(ann.id, "legacy_keys").await.unwrap());
    assert!(!two.notice_shown(ann.id, "other").await.unwrap());
    assert!(!two.notice_shown(max.id, "legacy_keys").await.unwrap());
    let told: Vec<_> =
        told(&two, 10).await.into_iter().filter(|entry| entry.what == "user.show_notice").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((told[0].at, told[0].subject.as_str()), (at(1), ann.id.to_string().as_str()));
    // Nobody there: nothing is written.
    let nobody = UserId(Uuid::from_u128(1));
    assert!(one.show_notice(nobody, "legacy_keys", &actor(), at(3)).await.is_err());
    assert!(!two.notice_shown(nobody, "legacy_keys").await.unwrap());
}

pub(crate) async fn a_job_is_of_the_project_that_made_it_first([one, two]: Handles) {
    let made = |n: u64, job: &str, project: Option<&str>| Row {
        job: Some(job.to_owned().into()),
        project: project.map(|project| project.to_owned().into()),
        ..row(n, None, true, n)
    };
    let rows = vec![
        made(1, "a", Some("p1")),
        made(2, "a", Some("p2")),
        made(3, "b", Some("p2")),
        made(4, "nobody's", None),
    ];
    for _ in 0..2 {
        one.ship(&Shipment { rows: rows.clone().into(), ..Shipment::default() }).await.unwrap();
    }
    let later = vec![made(5, "b", Some("p1"))];
    one.ship(&Shipment { rows: later.into(), ..Shipment::default() }).await.unwrap();
    for (job, owner) in [("a", Some("p1")), ("b", Some("p2")), ("nobody's", None), ("c", None)] {
        let found = two.job_owner(job).await.unwrap();
        assert_eq!(found.as_ref().map(ProjectId::as_str), owner, "{job}");
    }
    // It is forgotten with the rows of its time.
    let keep = keep_from(3);
    while one.prune(&keep).await.unwrap().more {}
    assert_eq!(two.job_owner("a").await.unwrap(), None);
    assert!(two.job_owner("b").await.unwrap().is_some());
}
