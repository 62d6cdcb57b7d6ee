//! Accounts that people make themselves.

use serde_json::json;

use crate::support::{Client, comparable};
use crate::{PASSWORD, crawler, gateway, invalid, key, login, no};

#[tokio::test]
async fn nobody_registers_where_it_is_not_switched_on() {
    let upstream = crawler();
    let gateway = gateway(&upstream, "").await;
    let body = json!({"email": "new@example.com", "password": PASSWORD});
    let said = Client::nobody(gateway.data).tells("POST /auth/register", body).await;
    assert_eq!(said, (403, no("FORBIDDEN", "Registration is switched off")));
    assert_eq!(gateway.cli(&["user", "list"]).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn who_registers_has_an_organization_and_project_of_its_own() {
    let upstream = crawler();
    let gateway = gateway(&upstream, "systems.register = true").await;
    let nobody = Client::nobody(gateway.data);
    let body = |email: &str, password: &str| json!({"email": email, "password": password, "name": "Alex"});
    let made = nobody.raw("POST /auth/register", Some(body("Alex@Company.com", PASSWORD))).await;
    let user = json!({"id": "UUID", "email": "alex@company.com", "name": "alex"});
    let expected = json!({"data": {"accessToken": "TOKEN", "user": user}});
    assert_eq!((made.status, comparable(&made.json())), (201, expected));
    let taken = nobody.tells("POST /auth/register", body("alex@company.com", PASSWORD)).await;
    assert_eq!(taken, (409, no("EMAIL_ALREADY_EXISTS", "Email already registered")));
    for (email, password, field, message) in [
        ("alex", PASSWORD, "email", "`alex` is no email address: write it as name@example.com"),
        ("new@example.com", "short", "password", "too short: give at least 8 characters"),
    ] {
        let said = nobody.tells("POST /auth/register", body(email, password)).await;
        assert_eq!(said, (400, invalid(field, message)));
    }

    let projects = gateway.cli(&["project", "list"]).await;
    let own = projects.as_array().unwrap().iter().find(|project| project["organization"] == "alex").unwrap();
    let alex = login(&gateway, "alex@company.com").await;
    let (_, used) = key(&alex, own["id"].as_str().unwrap(), "first").await;
    assert_eq!(used.asks(&format!("GET /projects/{}/jobs", own["id"].as_str().unwrap())).await.0, 200);
    // And nothing of anybody else's.
    let others = alex.asks("GET /private/projects/67d1aa/api-keys").await;
    assert_eq!(others, (404, no("NOT_FOUND", "Project not found")));
}
