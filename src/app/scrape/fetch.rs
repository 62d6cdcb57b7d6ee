//! Fetching one page, within bounds of time, size and redirects.
//!
//! The client is built on the first use: verifying TLS needs the machine's CA certificates, and a machine
//! without them (a bare container) can still be shown pages over http.

use std::error::Error;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, StatusCode, header};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder, Url};

use super::Failure;

/// Longest body of a page, in bytes.
pub(super) const BODY_BYTES_MAX: usize = 5 * 1024 * 1024;
/// Redirects followed for one page.
const REDIRECTS_MAX: usize = 5;
/// To make a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For the page as a whole, from the connection to the last byte, over all redirects.
const PAGE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection to a site is kept for the next page.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// A page as it came.
#[derive(Debug)]
pub(super) struct Page {
    /// Where the redirects led.
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// From the request to the last byte of the body.
    pub(super) elapsed: Duration,
}

impl Page {
    /// The Content-Type as sent; empty where there is none, or none that is text.
    pub(super) fn content_type(&self) -> &str {
        self.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Fetches pages.
pub(super) struct Fetcher {
    page_timeout: Duration,
    /// For what is on this machine: never through a proxy named in the environment.
    direct: OnceLock<Result<Reach, String>>,
    /// For everything else.
    web: OnceLock<Result<Reach, String>>,
}

/// A client, and why it cannot speak https where it cannot.
struct Reach {
    client: Client,
    no_https: Option<String>,
}

impl Default for Fetcher {
    fn default() -> Self {
        Self::within(PAGE_TIMEOUT)
    }
}

impl Fetcher {
    /// A fetcher that gives a page up after `page_timeout`.
    pub(super) fn within(page_timeout: Duration) -> Self {
        Self { page_timeout, direct: OnceLock::new(), web: OnceLock::new() }
    }

    /// Fetches the page at `url`.
    ///
    /// # Errors
    /// 422 where `url` is none to fetch, 502 where the page cannot be had, 504 where it takes too long.
    pub(super) async fn fetch(&self, url: &str) -> Result<Page, Failure> {
        let url = checked(url)?;
        let reach = self.reach(&url)?;
        if let (Some(why), "https") = (&reach.no_https, url.scheme()) {
            return Err(bad_gateway(why));
        }
        let started = Instant::now();
        let sent = reach.client.get(url.clone()).timeout(self.page_timeout).send();
        let mut answer = sent.await.map_err(|why| self.failure(&url, &why))?;
        let too_large = || {
            bad_gateway(&format!(
                "the page is larger than {} MiB, which is the most this service takes",
                BODY_BYTES_MAX >> 20
            ))
        };
        if answer.content_length().is_some_and(|length| length > BODY_BYTES_MAX as u64) {
            return Err(too_large());
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(|why| self.failure(&url, &why))? {
            if body.len() + part.len() > BODY_BYTES_MAX {
                return Err(too_large());
            }
            body.extend_from_slice(&part);
        }
        Ok(Page {
            url: answer.url().clone(),
            status: answer.status(),
            headers: answer.headers().clone(),
            body,
            elapsed: started.elapsed(),
        })
    }

    fn reach(&self, url: &Url) -> Result<&Reach, Failure> {
        let built = if is_loopback(url) {
            self.direct.get_or_init(|| Reach::build(|| client().no_proxy()))
        } else {
            self.web.get_or_init(|| Reach::build(client))
        };
        built.as_ref().map_err(|why| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, why))
    }

    fn failure(&self, url: &Url, why: &reqwest::Error) -> Failure {
        if why.is_timeout() {
            let seconds = self.page_timeout.as_secs_f32();
            return Failure::new(
                StatusCode::GATEWAY_TIMEOUT,
                format!("{url} did not answer whole within {seconds} s"),
            );
        }
        // Each error repeats or hides its cause; the last one is the one that says what happened.
        let mut cause: &dyn Error = why;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        bad_gateway(&format!("{url} cannot be fetched: {cause}"))
    }
}

impl Reach {
    /// Builds with the machine's CA certificates, or, where there are none, for http alone.
    fn build(client: impl Fn() -> ClientBuilder) -> Result<Self, String> {
        match client().redirect(Policy::custom(|next| follow(next, true))).build() {
            Ok(client) => Ok(Self { client, no_https: None }),
            Err(why) => Self::without_https(&client, &why),
        }
    }

    fn without_https(client: &impl Fn() -> ClientBuilder, why: &dyn Error) -> Result<Self, String> {
        let built = client().tls_certs_only([]).redirect(Policy::custom(|next| follow(next, false))).build();
        let client = built.map_err(|why| format!("no HTTP client can be made on this machine: {why:?}"))?;
        Ok(Self { client, no_https: Some(format!("{NO_HTTPS} ({})", why.source().unwrap_or(why))) })
    }
}

const NO_HTTPS: &str = "https pages cannot be fetched, as this machine has no CA certificates to check a site by: \
     install the package ca-certificates, or scrape a page over http";

fn client() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!("tollgate-demo/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(2)
}

fn follow(next: Attempt<'_>, https: bool) -> reqwest::redirect::Action {
    if next.previous().len() > REDIRECTS_MAX {
        return next.error(format!("it redirects more than {REDIRECTS_MAX} times"));
    }
    match next.url().scheme() {
        "http" => next.follow(),
        "https" if https => next.follow(),
        "https" => next.error(NO_HTTPS),
        scheme => {
            let text = format!("it redirects to `{scheme}:`, which is not http or https");
            next.error(text)
        }
    }
}

/// A URL that can be fetched.
fn checked(text: &str) -> Result<Url, Failure> {
    let unfit = |text: String| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, text);
    let url = Url::parse(text).map_err(|why| {
        unfit(format!("`{text}` is not a URL ({why}): write it whole, such as https://example.com/"))
    })?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(unfit(format!("`{scheme}:` is not fetched: only http and https are"))),
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    address.map_or(host == "localhost", |address| address.to_canonical().is_loopback())
}

fn bad_gateway(text: &str) -> Failure {
    Failure::new(StatusCode::BAD_GATEWAY, text)
}

#[cfg(test)]
mod tests;
