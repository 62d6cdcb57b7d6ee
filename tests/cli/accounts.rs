//! Organizations, people, projects, sessions.

use serde_json::{Value, json};

use super::*;

#[test]
fn an_organization_is_made_listed_shown_and_moved_to_another_plan() {
    let place = Place::new();
    let made = place.json("org create acme --plan free");
    let expected = json!({
        "id": "acme", "name": "acme", "plan": "free",
        "caps": {"per_second": 2, "per_minute": 30, "concurrency": 3},
        "negotiated": {"per_second": null, "per_minute": null, "concurrency": null},
        "limits": null, "created_at": "TIME",
    });
    assert_eq!(shape(&made), expected);
    assert_eq!(place.json("org list"), json!([made]));
    assert_eq!(place.json("org show acme"), made);
    let moved = place.json("org set-plan acme free --per-second 9 --concurrency 0");
    assert_eq!(moved["caps"], json!({"per_second": 9, "per_minute": 30, "concurrency": 0}));
    assert_eq!(moved["negotiated"], json!({"per_second": 9, "per_minute": null, "concurrency": 0}));
    assert_eq!(place.json("org set-plan acme free")["negotiated"], made["negotiated"]);
    // As other commands name the two.
    for line in ["acme --plan pro", "--org acme --plan pro", "free --org acme"] {
        let plan = if line.starts_with("free") { "free" } else { "pro" };
        assert_eq!(place.json(&format!("org set-plan {line}"))["plan"], plan, "{line}");
    }
    for line in ["acme", "--org acme", "acme free --plan pro", "acme free --org acme"] {
        place.refused(&format!("org set-plan {line}"), 2, "set-plan ORGANIZATION PLAN");
    }
    let limited = place.json("org limit acme --requests 5 --microcents 700 --period weekly");
    let limit = json!({"requests": 5, "microcents": 700, "period": "weekly", "enabled": true});
    assert_eq!(limited["limits"], limit);
    assert_eq!(place.json("org limit acme --clear")["limits"], Value::Null);
    assert!(place.done("org show acme").contains("\nplan         free\n"));
    assert!(place.done("org list").lines().nth(1).unwrap().starts_with("acme  acme  free  20"));
}

#[test]
fn an_organization_of_several_words_is_found_by_its_name() {
    let place = Place::new();
    let made = place.run_args(&["org", "create", "Acme & Söhne", "--plan", "free"], "");
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    let shown = place.run_args(&["org", "show", "Acme & Söhne", "--json"], "");
    assert_eq!(serde_json::from_str::<Value>(&shown.out).unwrap()["id"], "Acme-S-hne");
}

#[test]
fn a_user_has_a_personal_organization_and_logs_in() {
    let place = Place::with_acme();
    let line = "--json user create Ann@Example.com --org acme --role admin --operator --password-stdin";
    let made = place.user(line, "correct horse battery\n");
    assert_eq!((made.code, made.err.as_str()), (0, ""));
    let made: Value = serde_json::from_str(&made.out).unwrap();
    let expected = json!({
        "id": "UUID", "email": "ann@example.com", "operator": true,
        "memberships": [
            {"organization": "acme", "role": "admin"},
            {"organization": "ann", "role": "owner"},
        ],
        "created_at": "TIME",
    });
    assert_eq!(shape(&made), expected);
    assert_eq!(place.json("user list"), json!([made]));
    let login = place.json("session create ann@example.com --ttl 10m");
    assert_eq!(login["user"], made["id"]);
    assert_eq!(text(&login["session_token"]).split('.').count(), 3);
    let bare = place.done("session create ann@example.com");
    assert_eq!((bare.lines().count(), bare.trim().split('.').count()), (1, 3));
    place.refused("session create nobody@example.com", 1, "no user `nobody@example.com`");
    place.refused("session create ann@example.com --ttl 31d", 2, "ttl: ");
    place.refused("session create ann@example.com --ttl soon", 2, "24h");
    // A second one of the same local part gets an id of its own, and the same email is refused.
    let second = place.user("--json user create ann@example.org --password-stdin", "correct horse battery");
    let second: Value = serde_json::from_str(&second.out).unwrap();
    let own = text(&second["memberships"][0]["organization"]).to_owned();
    assert!(own.starts_with("ann-") && own.len() == "ann-".len() + 8, "{own}");
    let again = place.user("user create ANN@example.com --password-stdin", "correct horse battery");
    assert_eq!((again.code, again.out.as_str()), (1, ""));
    assert!(again.err.contains("`ann@example.com` already"), "{}", again.err);
}

#[test]
fn a_password_comes_by_standard_input_and_is_long_enough() {
    let place = Place::with_acme();
    let create = "user create ann@example.com --password-stdin";
    for (password, says) in [
        ("", "at least 8 characters"),
        ("sevench\n", "at least 8 characters"),
        (&"x".repeat(1_025), "at most 1024 bytes"),
        (&"ä".repeat(5_000), "at most 1024 bytes"),
    ] {
        let refused = place.user(create, password);
        assert_eq!((refused.code, refused.out.as_str()), (2, ""), "{}", refused.err);
        assert!(refused.err.contains("password: ") && refused.err.contains(says), "{}", refused.err);
    }
    place.refused("user create ann@example.com", 2, "--password-stdin");
    place.refused("user create ann@example.com --role admin --password-stdin", 2, "--org");
    assert_eq!(place.json("user list"), json!([]));
    // Only one line break at the end is not part of it: seven characters and one of two are eight.
    assert_eq!(place.user(create, "sevench\n\n").code, 0);
    for (line, password) in [
        ("user create x --password-stdin", "correct horse battery"),
        ("user create b@x.org --org acme --role king --password-stdin", "correct horse battery"),
    ] {
        assert_eq!(place.user(line, password).code, 2, "{line}");
    }
    let stranded = place.user("user create b@x.org --org none --password-stdin", "correct horse battery");
    assert_eq!(stranded.code, 1);
    assert!(stranded.err.contains("no organization `none`"), "{}", stranded.err);
}

#[test]
fn a_project_takes_the_operators_id_and_holds_keys() {
    let place = Place::with_acme();
    let made = place.json("project create crawl --org acme --id 67e0.a-B_1");
    let expected = json!({"id": "67e0.a-B_1", "organization": "acme", "name": "crawl", "created_at": "TIME"});
    assert_eq!(shape(&made), expected);
    assert_eq!(shape(&place.json("project create other --org acme"))["id"], "UUID");
    let names: Vec<_> =
        place.json("project list --org acme").as_array().unwrap().iter().map(|p| p["name"].clone()).collect();
    assert_eq!(names, ["crawl", "default", "other"]);
    for named in ["67e0.a-B_1", "crawl"] {
        let key = place.json(&format!("key create --org acme --name by-{named} --project {named}"));
        assert_eq!(key["project"], "67e0.a-B_1");
    }
    place.refused("project create x --org acme --id a/b", 2, "id: `a/b`");
    place.refused("project create x --org acme --id 67e0.a-B_1", 1, "`67e0.a-B_1` already");
    place.refused("project create crawl --org acme", 1, "`crawl` already");
    place.refused("project create x --org none", 1, "no organization `none`");
    place.refused("project list --org none", 1, "no organization `none`");
    place.refused("key create --org acme --name x --project none", 1, "no project `none`");
}

#[test]
fn without_a_session_secret_no_token_is_made() {
    let place = Place::new();
    let answer =
        answer_of(place.command(&["session", "create", "a@x.org"]).env_remove("TOLLGATE_SESSION_SECRET"));
    assert_eq!((answer.code, answer.out.as_str()), (2, ""));
    assert!(answer.err.contains("TOLLGATE_SESSION_SECRET"), "{}", answer.err);
}
