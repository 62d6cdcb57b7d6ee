//! One upstream, one gateway in front of it, one key.

use crate::support::{Gateway, Response, Upstream, get, send};

/// What is special about the gateway; the rest is one route to one upstream, and a plan that is wide enough.
#[derive(Default)]
pub struct Setup<'a> {
    /// Sections of their own.
    pub sections: &'a str,
    /// Lines of `[data]`.
    pub data: &'a str,
    /// Lines of `[plans.wide]`, in the place of its caps.
    pub plan: Option<&'a str>,
    /// Lines of the upstream.
    pub upstream: &'a str,
    /// Lines of the route `/*`.
    pub route: &'a str,
    /// Arguments of `key create`.
    pub key: &'a [&'a str],
}

/// What a test works with.
pub struct Bed {
    pub gateway: Gateway,
    /// The key's secret.
    pub key: String,
    pub key_id: String,
    pub project: String,
}

const PLAN: &str = "per_second = 100000\nper_minute = 100000\nconcurrency = 1000";

impl Setup<'_> {
    pub async fn start(&self, upstreams: &[&Upstream]) -> Bed {
        let targets: Vec<String> =
            upstreams.iter().map(|upstream| format!("\"{}\"", upstream.address)).collect();
        self.start_at(&targets.join(", ")).await
    }

    /// `targets` as it stands in the list of the configuration.
    pub async fn start_at(&self, targets: &str) -> Bed {
        let Self { sections, data, plan, upstream, route, key } = self;
        let plan = plan.unwrap_or(PLAN);
        let health = if upstream.contains("health") { "" } else { "health = { every = \"0s\" }" };
        // One thread, so that what it keeps between requests can be counted on.
        let config = format!(
            "[data]\nthreads = 1\n{data}\n{sections}\n[plans.wide]\n{plan}\n\
             [[upstreams]]\nname = \"up\"\ntargets = [{targets}]\n{health}\n{upstream}\n\
             [[routes]]\npath = \"/*\"\nupstream = \"up\"\n{route}\n"
        );
        let gateway = Gateway::start(&config).await;
        gateway.cli(&["org", "create", "acme", "--plan", "wide"]).await;
        let made = gateway.cli(&[&["key", "create", "--org", "acme", "--name", "k"], *key].concat()).await;
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        Bed { gateway, key: text("key"), key_id: text("id"), project: text("project") }
    }
}

impl Bed {
    /// `GET path` with the key.
    pub async fn get(&self, path: &str) -> Response {
        get(self.gateway.data, path, &[("x-api-key", &self.key)]).await
    }

    /// Any request with the key and further headers.
    pub async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let headers = [&[("x-api-key", &*self.key)], headers].concat();
        send(self.gateway.data, method, path, &headers, body.to_owned()).await
    }

    /// A request's head as bytes, with Host and key; `more` are whole lines.
    pub fn head(&self, line: &str, more: &str) -> String {
        format!("{line} HTTP/1.1\r\nHost: x\r\nX-API-Key: {}\r\n{more}\r\n", self.key)
    }
}
