//! Keys.

use serde_json::{Value, json};

use super::*;

#[test]
fn a_key_is_made_with_every_setting_and_shown_without_its_secret() {
    let place = Place::with_acme();
    let made = place.json(
        "key create --org acme --name ci --category staging --expires 2099-12-31 --total 100 --daily 0 --weekly 7 \
         --monthly 30 --scope read --allow-ip 10.0.0.0/8 --allow-ip 192.0.2.7",
    );
    let secret = text(&made["key"]).to_owned();
    assert!(secret.starts_with("sk_live_") && secret.len() == 40, "{} characters", secret.len());
    let mut expected = json!({
        "id": "UUID", "organization": "acme", "project": "UUID", "name": "ci", "category": "staging",
        "prefix": "sk_live_", "hint": secret[36..], "scopes": ["read"], "active": true, "expires_at": "TIME",
        "allowed_ips": ["10.0.0.0/8", "192.0.2.7/32"],
        "quotas": {"total": 100, "daily": 0, "weekly": 7, "monthly": 30},
        "limits": null, "created_by": null, "created_at": "TIME", "last_used_at": null, "requests": 0,
        "revoked_at": null, "key": secret,
    });
    assert_eq!(shape(&made), expected);
    assert_eq!(made["expires_at"], "2099-12-31T00:00:00Z");
    expected.as_object_mut().unwrap().remove("key");
    let shown = place.json(&format!("key show {}", text(&made["id"])));
    assert_eq!(shape(&shown), expected);
    assert_eq!(place.json("key show ci --org acme"), shown);
    assert_eq!(place.json("key list"), json!([shown]));
    assert_eq!(place.json("key list --org acme"), json!([shown]));
    for line in ["key list", "key show ci --org acme"] {
        assert!(!place.done(line).contains(&secret), "{line}");
    }
    let spoken = place.done("key create --org acme --name spoken");
    assert_eq!(spoken.matches("sk_live_").count(), 2, "once masked and once whole");
    assert!(spoken.ends_with("the only time the key is shown: only its digest is kept.\n"), "{spoken}");
}

#[test]
fn a_key_that_could_not_be_meant_is_refused_and_nothing_is_written() {
    let place = Place::with_acme();
    for (line, code, says) in [
        ("key create --org acme", 2, "--name"),
        ("key create --name ci", 2, "--org"),
        ("key create --org none --name ci", 1, "no organization `none`"),
        ("key create --org acme --name ci --daily -5", 2, "whole number"),
        ("key create --org acme --name ci --total 1.5", 2, "whole number"),
        ("key create --org acme --name ci --total 9007199254740992", 2, "quotas: "),
        ("key create --org acme --name ci --expires yesterday", 2, "2026-12-31"),
        ("key create --org acme --name ci --expires 2020-01-01", 2, "expires_at: lies in the past"),
        ("key create --org acme --name ci --scope all", 2, "scopes: `all`"),
        ("key create --org acme --name ci --allow-ip 10.0.0.1/8", 2, "write 10.0.0.0/8"),
        ("key create --org acme --name ci --allow-ip everywhere", 2, "allowed_ips: "),
    ] {
        place.refused(line, code, says);
    }
    assert_eq!(place.run_args(&["key", "create", "--org", "acme", "--name", " "], "").code, 2);
    assert_eq!(place.json("key list"), json!([]));
}

#[test]
fn a_key_is_renamed_disabled_enabled_and_revoked_for_good() {
    let place = Place::with_acme();
    let id = text(&place.json("key create --org acme --name ci")["id"]).to_owned();
    let show = || place.json(&format!("key show {id}"));
    assert_eq!(place.json("key rename ci --name weekly --org acme")["name"], "weekly");
    assert_eq!(place.json("key rename weekly nightly --org acme")["name"], "nightly");
    place.refused("key rename nightly --org acme", 2, "NAME");
    assert_eq!(place.json("key disable nightly --org acme")["active"], false);
    assert_eq!(show()["active"], false);
    assert!(place.done(&format!("key show {id}")).contains("disabled"));
    // Again: done already.
    assert_eq!(place.json(&format!("key disable {id}"))["active"], false);
    assert_eq!(place.json(&format!("key enable {id}"))["active"], true);
    assert_eq!(shape(&place.json(&format!("key revoke {id}")))["revoked_at"], "TIME");
    assert_eq!(shape(&show())["revoked_at"], "TIME");
    assert!(place.done(&format!("key show {id}")).contains("revoked 20"));
    for line in ["revoke", "enable", "disable", "rotate", "limit --clear", "quotas --total 1"] {
        let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
        place.refused(&format!("key {verb} {id} {rest}"), 1, "`nightly` was revoked");
    }
    place.refused(&format!("key rename {id} again"), 1, "`nightly` was revoked");
    // Its name is free, and only --revoked lists it.
    assert_eq!(place.json("key list"), json!([]));
    assert_eq!(place.json("key list --revoked")[0]["id"], id);
    place.done("key create --org acme --name nightly");
    place.refused("key create --org acme --name nightly", 1, "named `nightly` already");
    place.done("key create --org acme --name other");
    place.refused("key rename other nightly --org acme", 1, "named `nightly` already");
}

#[test]
fn a_key_never_used_is_deleted_without_a_trace_in_lists() {
    let place = Place::with_acme();
    let id = text(&place.json("key create --org acme --name ci")["id"]).to_owned();
    assert_eq!(place.json(&format!("key delete {id}")), json!({"deleted": id}));
    place.refused(&format!("key show {id}"), 1, "no key");
    place.refused(&format!("key delete {id}"), 1, "no key");
    assert_eq!(place.json("key list --revoked"), json!([]));
}

#[test]
fn a_rotated_key_keeps_everything_but_its_secret() {
    let place = Place::with_acme();
    let made = place.json("key create --org acme --name ci --daily 5");
    for line in ["key rotate ci --org acme --grace 24h", "key rotate ci --org acme"] {
        let mut rotated = place.json(line);
        assert_ne!(rotated["key"], made["key"]);
        assert!(text(&rotated["key"]).ends_with(text(&rotated["hint"])));
        for field in ["key", "hint"] {
            rotated[field] = made[field].clone();
        }
        assert_eq!(rotated, made);
    }
    place.refused("key rotate ci --org acme --grace 31d", 2, "grace: ");
    place.refused("key rotate ci --org acme --grace soon", 2, "24h");
}

#[test]
fn limits_and_quotas_of_a_key_are_set_and_cleared() {
    let place = Place::with_acme();
    place.done("key create --org acme --name ci --daily 5 --weekly 6");
    let limit = |line: &str| place.json(&format!("key limit ci --org acme {line}"))["limits"].clone();
    let expected = json!({"requests": 0, "microcents": null, "period": "daily", "enabled": true});
    assert_eq!(limit("--requests 0 --period daily"), expected);
    let expected = json!({"requests": 5, "microcents": 9, "period": "monthly", "enabled": false});
    assert_eq!(limit("--requests 5 --microcents 9 --period monthly --disabled"), expected);
    assert_eq!(place.json("key show ci --org acme")["limits"], expected);
    assert_eq!(limit("--clear"), Value::Null);
    let quotas = place.json("key quotas ci --org acme --daily none --total 3")["quotas"].clone();
    assert_eq!(quotas, json!({"total": 3, "daily": null, "weekly": 6, "monthly": null}));
    for (line, says) in [
        ("key limit ci --org acme", "--clear"),
        ("key limit ci --org acme --requests 5", "--period"),
        ("key limit ci --org acme --period daily", "--requests"),
        ("key limit ci --org acme --requests 5 --period yearly", "daily"),
        ("key limit ci --org acme --requests -5 --period daily", "whole number"),
        ("key limit ci --org acme --clear --requests 5 --period daily", "--clear"),
        ("key quotas ci --org acme", "--total"),
        ("key quotas ci --org acme --total many", "none"),
        ("org limit acme --period daily --disabled", "--requests"),
    ] {
        place.refused(line, 2, says);
    }
    place.refused("org limit none --clear", 1, "no organization `none`");
}

#[test]
fn keys_are_imported_all_or_none_with_errors_by_line() {
    let place = Place::with_acme();
    place.done("org create other --plan free");
    place.done("key create --org other --name elsewhere");
    place.done("key create --org acme --name taken");
    let digest = |byte: char| byte.to_string().repeat(64);
    let write =
        |lines: &[String]| std::fs::write(place.dir.path().join("keys.jsonl"), lines.join("\n")).unwrap();
    let line = |more: Value| {
        let mut line = json!({"name": "a", "sha256": digest('a')});
        line.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        line.to_string()
    };
    write(&[
        line(json!({})),
        String::new(),
        "{".into(),
        line(json!({"name": "b", "sha256": "short"})),
        line(json!({"name": "c", "sha256": digest('c'), "period": "daily"})),
        line(json!({"name": "d", "sha256": digest('d'), "organization": "none"})),
        line(json!({"name": "e", "sha256": digest('e'), "limits": {"requests": 1, "period": "hourly"}})),
        line(json!({"name": "taken", "sha256": digest('f')})),
    ]);
    // Whether it is the JSON, a field or the record that stands in the way.
    for told in [
        "nothing was imported: 6 mistakes in keys.jsonl\nline 3: is no JSON object",
        "line 4: sha256: ",
        "line 5: period: unknown field `period`",
        "line 6: there is no organization `none`",
        "line 7: limits.period",
        "line 8: `acme` has a key named `taken` already",
    ] {
        place.refused("key import keys.jsonl --org acme", 1, told);
    }
    place.refused("key import keys.jsonl", 1, "line 1: organization");
    write(&[
        line(json!({})),
        line(json!({"name": "b", "sha256": "short"})),
        line(json!({"name": "a2"})),
        line(json!({"name": "d", "sha256": digest('d'), "organization": "none"})),
        line(json!({"name": "e", "sha256": digest('e'), "quotas": {"daily": 5.5}})),
    ]);
    place.refused("key import keys.jsonl --org acme", 1, "line 2: sha256: ");
    place.refused("key import keys.jsonl --org acme", 1, "line 3: sha256: is that of `a` before it");
    place.refused("key import keys.jsonl --org acme", 1, "line 4: there is no organization `none`");
    let fraction = "line 5: quotas.daily: invalid value: floating point `5.5`, expected a whole number";
    place.refused("key import keys.jsonl --org acme", 1, fraction);
    assert_eq!(place.json("key list").as_array().unwrap().len(), 2);
    write(&[String::new()]);
    place.refused("key import keys.jsonl --org acme", 2, "keys.jsonl is empty");
    write(&[
        line(
            json!({"quotas": {"daily": 5.0}, "limits": {"requests": 9, "period": "weekly"}, "hint": "9xyz", "prefix": "old_"}),
        ),
        line(
            json!({"name": "b", "sha256": digest('B'), "organization": "other", "active": false, "expires_at": "2020-01-01"}),
        ),
    ]);
    let made = place.json("key import keys.jsonl --org acme");
    assert_eq!((&made[0]["quotas"]["daily"], &made[0]["limits"]["requests"]), (&json!(5), &json!(9)));
    assert_eq!((&made[0]["prefix"], &made[0]["hint"]), (&json!("old_"), &json!("9xyz")));
    assert_eq!((&made[1]["organization"], &made[1]["active"]), (&json!("other"), &json!(false)));
    place.refused("key import keys.jsonl --org acme", 1, "line 1: ");
    place.refused("key import nothing.jsonl", 2, "nothing.jsonl: No such file");
}
