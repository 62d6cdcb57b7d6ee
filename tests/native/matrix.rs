//! Every call × who calls × whose thing × what is shown.
//!
//! The calls are those of the document at `/openapi.json`, and what is expected of each stands in `matrix.txt`: a call
//! that one of the two does not know fails the test.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::bed::{Bed, text};
use super::support::{Response, SOON, get, wait_until};

const LEAST: [&str; 5] = ["anyone", "member", "admin", "owner", "operator"];

struct Rule {
    method: String,
    path: String,
    least: String,
    key: String,
    body: Value,
    /// Whether it is about an organization, so that there is another's.
    about: bool,
}

/// The rules, held against the document.
async fn rules(bed: &Bed) -> Vec<Rule> {
    let document = get(bed.gateway.control, "/openapi.json", &[]).await.json();
    let mut documented = BTreeMap::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap().iter().filter(|_| path.starts_with("/v1/"))
        {
            let asks = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .any(|one| one["name"] == "organization");
            let about = asks || ["{key}", "{project}"].iter().any(|name| path.contains(name));
            documented.insert((method.to_uppercase(), path.clone()), about);
        }
    }
    let mut rules = Vec::new();
    for line in include_str!("matrix.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut word = || words.next().unwrap_or_else(|| panic!("too short: {line}"));
        let (method, path, least, key) = (word(), word(), word(), word());
        let body = line.find(" {").filter(|at| line[*at..].contains('"') || line.ends_with("{}"));
        let body = body.map_or(Value::Null, |at| {
            let at = line[at..].rfind("  {").map_or(at, |more| at + more);
            serde_json::from_str(line[at..].trim()).unwrap_or_else(|why| panic!("{why}: {line}"))
        });
        let about = documented.remove(&(method.clone(), path.clone()));
        let about = about.unwrap_or_else(|| panic!("{method} {path} is not in the document"));
        rules.push(Rule { method, path, least, key, body, about });
    }
    assert!(documented.is_empty(), "without a rule: {:?}", documented.keys().collect::<BTreeSet<_>>());
    rules
}

/// Things of one organization that a call may be about.
struct Things {
    org: &'static str,
    project: String,
    invitations: u32,
}

impl Rule {
    /// The path of a thing of this organization that is there at this moment, made for this call alone.
    async fn target(&self, bed: &Bed, things: &mut Things, spare: &str, unique: &str) -> String {
        let mut path = self.path.replace("{organization}", things.org).replace("{project}", &things.project);
        if path.contains("{key}") {
            path = path.replace("{key}", &bed.key(things.org, unique).await.0);
        }
        if path.contains("{user}") {
            let members = format!("/v1/organizations/{}/members", things.org);
            let new = json!({ "email": "spare@example.com", "role": "member" });
            bed.call("operator", "POST", &members, new).await;
            path = path.replace("{user}", spare);
        }
        if path.contains("{invitation}") {
            things.invitations += 1;
            let email = format!("guest{}@example.com", things.invitations);
            let at = format!("/v1/organizations/{}/invitations", things.org);
            let new = json!({ "email": email, "role": "member" });
            let made = bed.does("operator", "POST", &at, new, 201).await;
            path = path.replace("{invitation}", &text(&made["id"]));
        }
        path = path.replace("{address}", "192.0.2.1");
        if self.about && !self.path.contains('{') {
            path += &format!("?organization={}", things.org);
        }
        path
    }

    fn body(&self, unique: &str) -> Value {
        serde_json::from_str(&self.body.to_string().replace("UNIQUE", unique)).unwrap()
    }
}

/// What the answer says of who may: `+`, 401, 403 or 404.
fn told(answer: &Response) -> &'static str {
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    match (answer.status, problem["code"].as_str().unwrap_or_default()) {
        // Known, and its password is another.
        (401, "wrong_login") => "+",
        (401, _) => "401",
        (403, _) => "403",
        // Known, and there is no such block, invitation or user.
        (404, _) if problem["detail"].as_str().unwrap_or_default().contains("not blocked") => "+",
        (404, _) => "404",
        (status, _) if status < 500 => "+",
        (status, _) => panic!("{status}: {}", answer.text()),
    }
}

#[tokio::test]
async fn everyone_may_what_the_table_says_and_nothing_else() {
    let bed = Bed::new("").await;
    bed.gateway
        .cli_with(&["user", "create", "spare@example.com", "--password-stdin"], "a long password")
        .await;
    let users = bed.does("operator", "GET", "/v1/users", Value::Null, 200).await;
    let spare = users["items"].as_array().unwrap().iter().find(|user| user["email"] == "spare@example.com");
    let spare = text(&spare.unwrap()["id"]);
    let mut places = Vec::new();
    for org in ["acme", "other"] {
        let at = format!("/v1/projects?organization={org}");
        let project = bed.does("operator", "POST", &at, json!({ "name": "target" }), 201).await;
        places.push(Things { org, project: text(&project["id"]), invitations: 0 });
    }
    let (_, key) = bed.key("acme", "caller").await;
    let mut wrong = Vec::new();
    let mut asked = 0;
    for rule in rules(&bed).await.iter().filter(|rule| rule.least != "open") {
        let least = LEAST.iter().position(|name| *name == rule.least).unwrap();
        for things in places.iter_mut().take(1 + usize::from(rule.about)) {
            let own = things.org == "acme";
            for who in ["operator", "owner", "admin", "member", "key"] {
                asked += 1;
                let unique = format!("u{asked}");
                // Logging out ends what it is done with.
                let session = match (who, rule.method.as_str(), rule.path.as_str()) {
                    ("key", ..) => key.clone(),
                    (who, "DELETE", "/v1/session") => bed.session(who, "1h").await,
                    (who, ..) => who.to_owned(),
                };
                let path = rule.target(&bed, things, &spare, &unique).await;
                let answer = bed.call(&session, &rule.method, &path, rule.body(&unique)).await;
                let is = LEAST.iter().position(|name| *name == who).unwrap_or_default();
                let expected = match who {
                    "key" if rule.key == "403" => "403",
                    "key" if own => "+",
                    "key" => "404",
                    "operator" => "+",
                    _ if !own => "404",
                    _ if is >= least => "+",
                    _ => "403",
                };
                let told = told(&answer);
                if told != expected {
                    wrong.push(format!(
                        "{who} {} {path}: {told}, not {expected}: {}",
                        rule.method,
                        answer.text()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "of {asked}:\n{}", wrong.join("\n"));
    assert!(asked > 300, "{asked}");
}

#[tokio::test]
async fn who_is_not_known_is_told_so_whatever_is_asked() {
    let bed = Bed::new("").await;
    let expired = bed.session("owner", "1s").await;
    wait_until("the session ends", SOON, async || {
        bed.call(&expired, "GET", "/v1/session", Value::Null).await.status == 401
    })
    .await;
    let mut forged = bed.token("owner").to_owned();
    let middle = forged.len() - 20;
    let other = if forged.as_bytes()[middle] == b'A' { "B" } else { "A" };
    forged.replace_range(middle..=middle, other);
    let unknown_key = "sk_live_0000000000000000000000000000000000";
    for rule in rules(&bed).await.iter().filter(|rule| rule.least != "open") {
        let names = [("organization", "acme"), ("project", "p"), ("address", "192.0.2.1")];
        let path = names
            .iter()
            .fold(rule.path.clone(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value));
        let nil = "00000000-0000-0000-0000-000000000000";
        let path = ["key", "user", "invitation"]
            .iter()
            .fold(path, |path, name| path.replace(&format!("{{{name}}}"), nil));
        for who in ["", &expired, &forged, unknown_key, "x.y.z", "x"] {
            let answer = bed.call(who, &rule.method, &path, rule.body("u")).await;
            // Guessing keys gets an address blocked, which is an answer, too.
            let blocked = answer.status == 403 && answer.text().contains("ip_blocked");
            assert!(answer.status == 401 || blocked, "{who} {} {path}: {}", rule.method, answer.text());
            assert!(blocked || answer.header("www-authenticate").is_some(), "{path}");
        }
        bed.call("operator", "DELETE", "/v1/blocked/127.0.0.1", Value::Null).await;
    }
}
