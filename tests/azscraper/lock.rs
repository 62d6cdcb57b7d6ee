//! A key is locked to its project: by the path where that names one, else by the project that made the job.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Client, SOON, wait_until};
use crate::{crawler, gateway, key, login, no};

fn locked() -> (u16, Value) {
    (403, no("FORBIDDEN", "This API key belongs to another project"))
}

async fn job(client: &Client, project: &str, id: &str) {
    let made = client.tells(&format!("POST /projects/{project}/jobs?id={id}"), json!({})).await;
    assert_eq!(made.0, 201, "{}", made.1);
}

#[tokio::test]
async fn a_key_reaches_its_own_project_and_the_jobs_of_it() {
    let upstream = crawler();
    let gateway = gateway(&upstream, "").await;
    gateway.cli(&["project", "create", "other", "--org", "acme", "--id", "67d1bb"]).await;
    let ann = login(&gateway, "ann@example.com").await;
    let (_, one) = key(&ann, "67d1aa", "one").await;
    let (_, two) = key(&ann, "67d1bb", "two").await;

    assert_eq!(two.asks("GET /projects/67d1aa/jobs").await, locked());
    assert_eq!(two.tells("POST /projects/67d1aa/jobs?id=j0", json!({})).await, locked());
    job(&one, "67d1aa", "j1").await;
    job(&two, "67d1bb", "j2").await;
    for path in ["GET /jobs/j1", "GET /jobs/j1/results", "DELETE /jobs/j1"] {
        assert_eq!(one.asks(path).await.0, 200, "{path}");
        assert_eq!(two.asks(path).await, locked(), "{path}");
    }
    assert_eq!((two.asks("GET /jobs/j2").await.0, one.asks("GET /jobs/j2").await), (200, locked()));
    // What no reply of ours has named is nobody's, and one refused creation names nothing.
    assert_eq!(one.asks("GET /jobs/j0").await, locked());
    assert_eq!(one.asks("GET /jobs/j99").await, locked());
    assert_eq!(upstream.seen().iter().filter(|seen| seen.target().contains("j0")).count(), 0);
    // A route that names neither is everybody's.
    assert_eq!(two.asks("GET /projects").await.0, 200);
}

#[tokio::test]
async fn who_made_a_job_is_known_after_a_crash_and_elsewhere() {
    let upstream = crawler();
    let mut gateway = gateway(&upstream, "").await;
    gateway.cli(&["project", "create", "other", "--org", "acme", "--id", "67d1bb"]).await;
    let ann = login(&gateway, "ann@example.com").await;
    let (_, one) = key(&ann, "67d1aa", "one").await;
    let (_, two) = key(&ann, "67d1bb", "two").await;
    job(&one, "67d1aa", "j1").await;
    // The reply was received whole, so it is known whose the job is.
    gateway.kill().await;
    gateway.start_again().await;
    let (one, two) = (one.at(gateway.data), two.at(gateway.data));
    assert_eq!((one.asks("GET /jobs/j1").await.0, two.asks("GET /jobs/j1").await), (200, locked()));

    // Another process with the same record.
    let record = gateway.directory().join("data/tollgate.db");
    let more = format!("record.url = \"sqlite://{}\"", record.display());
    let beside = crate::Gateway::start(&crate::config(upstream.address, &more)).await;
    job(&one, "67d1aa", "j2").await;
    let (near, far) = (one.at(beside.data), two.at(beside.data));
    wait_until("it is known there within a second", Duration::from_secs(1).max(SOON / 10), async || {
        near.asks("GET /jobs/j2").await.0 == 200
    })
    .await;
    assert_eq!(far.asks("GET /jobs/j2").await, locked());
}

/// The first to make it has it: an upstream that names a job twice, or a client that could make it do so, takes
/// nothing from anybody.
#[tokio::test]
async fn a_job_stays_with_the_project_that_made_it() {
    let upstream = crawler();
    let gateway = gateway(&upstream, "").await;
    gateway.cli(&["project", "create", "other", "--org", "acme", "--id", "67d1bb"]).await;
    let ann = login(&gateway, "ann@example.com").await;
    let (_, one) = key(&ann, "67d1aa", "one").await;
    let (_, two) = key(&ann, "67d1bb", "two").await;
    job(&one, "67d1aa", "same").await;
    wait_until("it is in the record", SOON, async || one.asks("GET /jobs/same").await.0 == 200).await;
    job(&two, "67d1bb", "same").await;
    assert_eq!((one.asks("GET /jobs/same").await.0, two.asks("GET /jobs/same").await), (200, locked()));
}

/// An upstream that decodes, merges slashes or knows no case would take each of these for what the lock is on, or for
/// keys of the operator's own account there.
#[tokio::test]
async fn another_spelling_of_a_path_opens_nothing() {
    let upstream = crawler();
    let gateway = gateway(&upstream, "").await;
    gateway.cli(&["project", "create", "other", "--org", "acme", "--id", "67d1.bb"]).await;
    let ann = login(&gateway, "ann@example.com").await;
    let (_, two) = key(&ann, "67d1.bb", "two").await;
    for path in ["/%70rojects/67d1aa/jobs", "//projects//67d1aa/jobs", "/projects/%367d1aa/j%6Fbs"] {
        assert_eq!(two.asks(&format!("GET {path}")).await, locked(), "{path}");
    }
    assert_eq!(two.asks("GET /projects/67d1.bb/..;/67d1aa/jobs").await.0, 400);
    for path in
        ["/private//projects/67d1.bb/api-keys", "/Private/projects/67d1.bb/%61pi-keys/", "/auth/login/"]
    {
        assert_eq!(two.asks(&format!("GET {path}")).await.0, 404, "{path}");
    }
    assert_eq!(upstream.seen().len(), 0, "{:?}", upstream.seen());
    // Its own, however it is written.
    assert_eq!(two.asks("GET /projects/67d1%2Ebb/jobs").await.0, 200);
}
