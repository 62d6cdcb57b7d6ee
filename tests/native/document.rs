//! `/openapi.json` against the published rules of OpenAPI 3.1, by a validator of somebody else's: `make test` installs it
//! (requirements.txt) into target/openapi; so does `.ci/deps test`.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::bed::Bed;
use crate::support::get;

/// What the validator says of a document.
fn validated(document: &Value) -> Output {
    let validator = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/openapi/bin/openapi-spec-validator");
    assert!(validator.exists(), "{} is missing: run `.ci/deps test`", validator.display());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("openapi.json");
    std::fs::write(&file, document.to_string()).unwrap();
    Command::new(validator).args(["--schema", "3.1"]).arg(&file).output().unwrap()
}

#[tokio::test]
async fn the_served_document_is_openapi_3_1() {
    let bed = Bed::new("").await;
    let document = get(bed.gateway.control, "/openapi.json", &[]).await.json();
    for path in ["/v1/keys", "/api/v1/api-keys", "/auth/login", "/v2/usage"] {
        assert!(document["paths"][path].is_object(), "{path} is not documented");
    }
    let found = validated(&document);
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stdout));

    // And it does look: at the form, and at what references lead to.
    let list = "/paths/~1v1~1keys/get";
    for (place, wrong) in [
        ("/info".to_owned(), json!({ "title": "no version" })),
        (format!("{list}/responses/200"), json!({ "content": {} })),
        (format!("{list}/parameters/0/in"), json!("nowhere")),
        (
            format!("{list}/responses/200/content"),
            json!({ "application/json": { "schema": { "$ref": "#/no" } } }),
        ),
        ("/components/schemas/Key/properties/name/type".to_owned(), json!("text")),
    ] {
        let mut document = document.clone();
        let at = document.pointer_mut(&place).unwrap_or_else(|| panic!("no {place}"));
        *at = wrong;
        assert!(!validated(&document).status.success(), "{place} may be anything");
    }
}
