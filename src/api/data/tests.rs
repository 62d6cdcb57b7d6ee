use std::net::{IpAddr, Ipv4Addr};

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use tokio::sync::Notify;
use uuid::Uuid;

use super::*;
use crate::clock;
use crate::config::load::load;
use crate::domain::id::RequestId;

fn arrival() -> Arrival {
    let config = load(None, &std::collections::HashMap::new(), &[]).unwrap();
    Arrival {
        config: Arc::new(config),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        id: RequestId(Uuid::nil()),
        at: clock::now(),
    }
}

fn request(path: &str) -> Request<Bytes> {
    Request::get(path).body(Bytes::new()).unwrap()
}

fn local(router: Router, requests_max: usize) -> Arc<Local> {
    let mut bounds = load(None, &std::collections::HashMap::new(), &[]).unwrap().data;
    bounds.own_requests_max = requests_max;
    Arc::new(Local::new(vec![System::new(&["/own/*"], router)], Handle::current(), &bounds))
}

/// As who serves does: what it is asked for has an owner.
async fn ask(local: &Local, path: &str) -> Result<Response<Bytes>, Refusal> {
    let request = request(path);
    let system = local.owner(request.method(), path).unwrap();
    local.answer(system, request, arrival()).await
}

#[tokio::test]
async fn what_is_owned_is_answered_and_nothing_else() {
    let local = local(Router::new().route("/own/{name}", get(async |Path(name): Path<String>| name)), 1);
    assert!(local.owner(&Method::GET, "/other").is_none());
    for _ in 0..3 {
        let answer = ask(&local, "/own/a").await.unwrap();
        assert_eq!(answer.body(), "a");
    }
}

#[tokio::test]
async fn one_too_many_is_refused_at_once_and_the_others_are_answered() {
    let go = Arc::new(Notify::new());
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let waiting = {
        let go = Arc::clone(&go);
        get(async move || {
            begun.send(()).unwrap();
            go.notified().await;
            "done"
        })
    };
    let local = local(Router::new().route("/own/wait", waiting), 2);
    let asking: Vec<_> = (0..2)
        .map(|_| {
            let local = Arc::clone(&local);
            tokio::spawn(async move { ask(&local, "/own/wait").await })
        })
        .collect();
    begins.recv().await.unwrap();
    begins.recv().await.unwrap();
    assert_eq!(ask(&local, "/own/wait").await.unwrap_err(), Refusal::Overloaded);
    go.notify_waiters();
    for asked in asking {
        assert_eq!(asked.await.unwrap().unwrap().body(), "done");
    }
    assert_eq!(local.slots.available_permits(), 2);
}

#[tokio::test]
async fn who_goes_away_does_not_stop_the_handler_half_way() {
    let go = Arc::new(Notify::new());
    let (done, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let begun = Arc::new(Notify::new());
    let writing = {
        let (go, begun) = (Arc::clone(&go), Arc::clone(&begun));
        get(async move || {
            begun.notify_one();
            go.notified().await;
            done.send(()).unwrap();
        })
    };
    let local = local(Router::new().route("/own/write", writing), 1);
    tokio::select! {
        _ = ask(&local, "/own/write") => unreachable!("it waits"),
        () = begun.notified() => {}
    }
    assert_eq!(local.slots.available_permits(), 0);
    go.notify_one();
    ends.recv().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_never_answers_is_given_up() {
    let local = local(Router::new().route("/own/never", get(std::future::pending::<()>)), 1);
    let answer = ask(&local, "/own/never").await;
    assert_eq!(answer.unwrap_err(), Refusal::StoreUnavailable);
    assert_eq!(local.slots.available_permits(), 1);
}

#[tokio::test]
async fn a_panic_of_a_handler_is_the_callers_and_frees_its_place() {
    #[allow(clippy::panic, reason = "that is what is tested")]
    async fn broken() {
        panic!("a handler panics")
    }
    let local = local(Router::new().route("/own/broken", get(broken)), 1);
    let asking = {
        let local = Arc::clone(&local);
        tokio::spawn(async move { ask(&local, "/own/broken").await.map(drop) })
    };
    assert!(asking.await.unwrap_err().is_panic());
    assert_eq!(local.slots.available_permits(), 1);
}
