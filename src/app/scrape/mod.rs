//! The built-in scrape service of `tollgate demo`: small, but it really fetches pages.
//!
//! - `POST /api/v1/scrape` with `{"url": "https://…"}` fetches the page and answers what came back.
//! - `GET /hello` is a page to scrape on a machine without a network.
//! - `GET /health` answers 200.
//!
//! **Who may use it.** It fetches whatever address it is given, private ones too: that is what its user, who
//! sits at the same machine, expects of it, and what makes such a service a way into a network (SSRF) as soon as
//! others reach it. So it listens on loopback only, and answers only loopback peers; it is a stand-in for a real
//! scraper in a demonstration, not a scraper to offer.
//!
//! | what happens | answer |
//! |---|---|
//! | the body is not `{"url": text}` | 400 |
//! | the body is longer than 64 KiB | 413 |
//! | the peer is not on this machine | 403 |
//! | the URL is none, or not http or https | 422 |
//! | the page cannot be had: name, connection, TLS, too many redirects, too large | 502 |
//! | 32 pages are being fetched already | 503 |
//! | the page is not there within 20 s | 504 |
//!
//! Errors are `{"error": text}`. A page that answers 404 is a scrape that worked: the answer is 200 and its
//! `status_code` is 404; only a page with a 2xx status is billed.
//!
//! **Deliberately absent:** JavaScript, cookies, proxies by country, retries, a cache.

mod fetch;
mod page;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use fetch::{Fetcher, Page};

/// Where a page is scraped.
pub const SCRAPE_PATH: &str = "/api/v1/scrape";
/// A page that can always be scraped.
pub const HELLO_PATH: &str = "/hello";

/// Longest request body, in bytes.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
/// Pages fetched at one time; each may hold [`fetch::BODY_BYTES_MAX`] bytes several times over.
const FETCHES_MAX: usize = 32;
/// What a successful scrape costs.
const PRICE_CREDITS: u64 = 1;
/// The same in microcents, at 1,000,000 = $1.
const PRICE_MICROCENTS: u64 = 1_000;
/// The tier of a plain fetch without a browser.
const TIER: &str = "1";

/// Answers on `listener` until `shutdown` is ready and the requests under way are done.
///
/// # Errors
/// Where `listener` is not bound to loopback, or no longer accepts.
pub async fn serve(
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    if !is_local(address) {
        return Err(std::io::Error::other(format!(
            "the built-in scrape service fetches any address for whoever reaches it, so it listens on loopback only, not on {address}"
        )));
    }
    let service = router().into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service).with_graceful_shutdown(shutdown).await
}

fn router() -> Router {
    let service = Arc::new(Service { fetcher: Fetcher::default(), slots: Semaphore::new(FETCHES_MAX) });
    Router::new()
        .route(SCRAPE_PATH, post(scrape))
        .route(HELLO_PATH, get(hello))
        .route("/health", get(health))
        .fallback(|| async {
            Failure::new(
                StatusCode::NOT_FOUND,
                format!("POST {SCRAPE_PATH}, GET {HELLO_PATH} and GET /health are all there is"),
            )
        })
        .method_not_allowed_fallback(|| async {
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, format!("scrape with POST {SCRAPE_PATH}"))
        })
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(from_fn(local_only))
        .with_state(service)
}

/// What the handlers share.
struct Service {
    fetcher: Fetcher,
    slots: Semaphore,
}

/// A request that came to nothing.
#[derive(Debug)]
struct Failure {
    status: StatusCode,
    text: String,
}

impl Failure {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(json!({ "error": self.text }))).into_response()
    }
}

async fn local_only(ConnectInfo(peer): ConnectInfo<SocketAddr>, request: Request, next: Next) -> Response {
    if is_local(peer) {
        return next.run(request).await;
    }
    Failure::new(StatusCode::FORBIDDEN, "this service answers only its own machine").into_response()
}

/// Whether `address` is on this machine; an IPv4 address may come as IPv6 (RFC 4291, section 2.5.5.2).
fn is_local(address: SocketAddr) -> bool {
    address.ip().to_canonical().is_loopback()
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn hello() -> Html<&'static str> {
    Html(include_str!("hello.html"))
}

#[derive(Deserialize)]
struct Wanted {
    url: String,
}

#[derive(Serialize)]
struct Scraped {
    /// As it was asked for.
    url: String,
    /// Where the redirects led.
    final_url: String,
    status_code: u16,
    /// The text, decoded; `null` where the page is not text.
    content: Option<String>,
    title: Option<String>,
    /// Values of one name joined with `, ` (RFC 9110, section 5.2).
    headers: Map<String, Value>,
    /// From the request to the last byte of the body, over all redirects.
    response_time_ms: u64,
    /// The body as it was received.
    size_bytes: usize,
    billing: Billing,
}

#[derive(Serialize)]
struct Billing {
    total_credits: u64,
    tier_used: &'static str,
    final_cost_microcents: u64,
}

async fn scrape(
    State(service): State<Arc<Service>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Scraped>, Failure> {
    let body = body.map_err(|why| Failure::new(why.status(), format!("the request's body: {why}")))?;
    let Wanted { url } = serde_json::from_slice(&body).map_err(|why| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            format!("send JSON such as {{\"url\": \"https://example.com/\"}}: {why}"),
        )
    })?;
    let _slot = service.slots.try_acquire().map_err(|_| {
        Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{FETCHES_MAX} pages are being fetched already"),
        )
    })?;
    let page = service.fetcher.fetch(&url).await?;
    // Decoding and parsing megabytes would hold up every other request of this thread.
    tokio::task::spawn_blocking(move || scraped(url, &page))
        .await
        .map(Json)
        .map_err(|_| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be read"))
}

fn scraped(url: String, page: &Page) -> Scraped {
    let content = page::text(page.content_type(), &page.body);
    let title = content.as_deref().filter(|_| page::is_html(page.content_type())).and_then(page::title);
    let billed = u64::from(page.status.is_success());
    Scraped {
        url,
        final_url: page.url.to_string(),
        status_code: page.status.as_u16(),
        title,
        content,
        headers: headers(page),
        response_time_ms: u64::try_from(page.elapsed.as_millis()).unwrap_or(u64::MAX),
        size_bytes: page.body.len(),
        billing: Billing {
            total_credits: billed * PRICE_CREDITS,
            tier_used: TIER,
            final_cost_microcents: billed * PRICE_MICROCENTS,
        },
    }
}

fn headers(page: &Page) -> Map<String, Value> {
    page.headers
        .keys()
        .map(|name| {
            let values =
                page.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            (name.to_string(), Value::String(values.collect::<Vec<_>>().join(", ")))
        })
        .collect()
}

#[cfg(test)]
mod tests;
