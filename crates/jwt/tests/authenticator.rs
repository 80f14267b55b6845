//! The example of RFC 7515, A.3, and what must not pass for it.
#![allow(clippy::expect_used, reason = "tests fail by panicking")]

use std::time::Duration;

use hauberk_config::jwt::{JwtAuthentication, JwtProvider, JwtRequirement};
use hauberk_jwt::{Authenticator, Failure};
use http::{HeaderMap, HeaderValue, Uri};

const KEY: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
const HEADER: &str = "eyJhbGciOiJFUzI1NiJ9";
const PAYLOAD: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
const EXPIRES: f64 = 1_300_819_380.0;

fn provider() -> JwtProvider {
    JwtProvider {
        issuer: "joe".into(),
        audiences: Vec::new(),
        key_set: KEY.into(),
        from_headers: Vec::new(),
        from_params: Vec::new(),
        from_cookies: Vec::new(),
        forward: false,
        payload_header: Some("x-payload".into()),
        claim_headers: vec![
            ("x-iss".into(), "iss".into()),
            ("x-root".into(), "http://example.com/is_root".into()),
        ],
        metadata_key: "payload".into(),
        space_delimited_claims: Vec::new(),
        clock_skew: Duration::from_secs(60),
        require_expiration: false,
    }
}

fn authenticator(provider: JwtProvider) -> Authenticator {
    Authenticator::new(&JwtAuthentication {
        providers: vec![provider],
        requirement: JwtRequirement::Any(vec![
            JwtRequirement::Provider(0),
            JwtRequirement::AllowMissing,
        ]),
        bypass_cors_preflight: true,
    })
}

fn with(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("it is a header");
    headers.insert("authorization", value);
    headers
}

fn judged(authenticator: &Authenticator, token: &str, now: f64) -> Result<usize, Failure> {
    let found = authenticator.authenticate(&with(token), &Uri::from_static("/"), now);
    found.map(|accepted| accepted.len())
}

#[test]
fn the_example_passes_until_it_expires() {
    let authenticator = authenticator(provider());
    let token = format!("{HEADER}.{PAYLOAD}.{SIGNATURE}");
    assert_eq!(judged(&authenticator, &token, EXPIRES), Ok(1));
    assert_eq!(judged(&authenticator, &token, EXPIRES + 60.0), Ok(1));
    assert_eq!(
        judged(&authenticator, &token, EXPIRES + 61.0),
        Err(Failure::Expired)
    );
    let none = authenticator.authenticate(&HeaderMap::new(), &Uri::from_static("/"), EXPIRES);
    assert_eq!(none.map(|accepted| accepted.len()), Ok(0));
}

#[test]
fn what_it_says_is_passed_on_and_nothing_forged_is() {
    let authenticator = authenticator(provider());
    let mut headers = with(&format!("{HEADER}.{PAYLOAD}.{SIGNATURE}"));
    headers.insert("x-iss", HeaderValue::from_static("forged"));
    authenticator.sanitize(&mut headers);
    assert!(!headers.contains_key("x-iss"));
    let uri = Uri::from_static("/");
    let accepted = authenticator
        .authenticate(&headers, &uri, EXPIRES)
        .expect("it is good");
    assert_eq!(
        authenticator.pass_on(&accepted[0], &mut headers, &uri),
        None
    );
    assert!(!headers.contains_key("authorization"));
    assert_eq!(headers["x-payload"], PAYLOAD);
    assert_eq!(
        (&headers["x-iss"], &headers["x-root"]),
        (
            &"joe".parse().expect("text"),
            &"true".parse().expect("text")
        )
    );
    assert_eq!(authenticator.metadata(&accepted)["payload"]["iss"], "joe");
}

#[test]
fn a_parameter_is_cut_out_of_the_query_however_it_is_spelt() {
    let authenticator = authenticator(provider());
    let token = format!("{HEADER}.{PAYLOAD}.{SIGNATURE}");
    for name in ["access_token", "access%5Ftoken", "%61ccess_token"] {
        let uri: Uri = format!("/a?b=1&{name}={token}&c=2")
            .parse()
            .expect("a path");
        let mut headers = HeaderMap::new();
        let accepted = authenticator
            .authenticate(&headers, &uri, EXPIRES)
            .expect("it is good");
        let path = authenticator.pass_on(&accepted[0], &mut headers, &uri);
        assert_eq!(path.as_deref(), Some("/a?b=1&c=2"));
    }
}

#[test]
fn a_good_token_does_not_cover_for_another() {
    let authenticator = authenticator(provider());
    let good = format!("{HEADER}.{PAYLOAD}.{SIGNATURE}");
    let forged = format!("{HEADER}.{PAYLOAD}.{}", SIGNATURE.replace('D', "E"));
    let judge = |uri: &str, more: Option<&str>| {
        let mut headers = with(&good);
        if let Some(token) = more {
            let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a header");
            headers.append("authorization", value);
        }
        let uri: Uri = uri.parse().expect("a path");
        authenticator
            .authenticate(&headers, &uri, EXPIRES)
            .map(|accepted| accepted.len())
    };
    assert_eq!(judge(&format!("/?access_token={good}"), None), Ok(2));
    assert_eq!(
        judge(&format!("/?access_token={forged}"), None),
        Err(Failure::Unverified)
    );
    assert_eq!(
        judge(&format!("/?access%5ftoken={forged}"), None),
        Err(Failure::Unverified)
    );
    assert_eq!(judge("/", Some(&forged)), Err(Failure::Unverified));
}

#[test]
fn no_byte_hides_a_cookies_token() {
    let authenticator = authenticator(JwtProvider {
        from_cookies: vec!["session".into()],
        ..provider()
    });
    let mut headers = HeaderMap::new();
    let cookie = HeaderValue::from_bytes(b"name=\xe9; session=forged").expect("a header");
    headers.insert("cookie", cookie);
    let found = authenticator.authenticate(&headers, &Uri::from_static("/"), EXPIRES);
    assert_eq!(found, Err(Failure::Malformed));
}

#[test]
fn no_change_of_a_byte_and_no_garbage_passes() {
    let authenticator = authenticator(provider());
    let token = format!("{HEADER}.{PAYLOAD}.{SIGNATURE}");
    for index in 0..token.len() {
        for replacement in ["A", ".", "=", "%", ""] {
            let mut changed = token.clone();
            changed.replace_range(index..=index, replacement);
            if changed != token {
                assert!(
                    judged(&authenticator, &changed, EXPIRES).is_err(),
                    "{changed}"
                );
            }
        }
        assert!(judged(&authenticator, &token[..index], EXPIRES).is_err());
    }
    for garbage in [
        "",
        ".",
        "..",
        "...",
        "e30.e30.",
        "e30.e30.AA",
        "eyJhbGciOiJub25lIn0.e30.",
    ] {
        assert!(
            judged(&authenticator, garbage, EXPIRES).is_err(),
            "{garbage}"
        );
    }
}

#[test]
fn a_key_for_something_else_verifies_nothing() {
    let token = format!("{HEADER}.{PAYLOAD}.{SIGNATURE}");
    for change in [
        r#""use": "enc","#,
        r#""alg": "ES384","#,
        r#""crv": "P-384","#,
    ] {
        let key_set = KEY.replace(r#""kty""#, &format!(r#"{change} "kty""#));
        let key_set = if change.contains("crv") {
            key_set.replace(r#""crv": "P-256","#, "")
        } else {
            key_set
        };
        let authenticator = authenticator(JwtProvider {
            key_set: key_set.into(),
            ..provider()
        });
        assert_eq!(
            judged(&authenticator, &token, EXPIRES),
            Err(Failure::Unverified),
            "{change}"
        );
    }
}

#[test]
fn other_issuers_audiences_and_tokens_without_end() {
    let token = format!("{HEADER}.{PAYLOAD}.{SIGNATURE}");
    let other = authenticator(JwtProvider {
        issuer: "jo".into(),
        ..provider()
    });
    assert_eq!(judged(&other, &token, EXPIRES), Err(Failure::UnknownIssuer));
    let audience = authenticator(JwtProvider {
        audiences: vec!["shop".into()],
        ..provider()
    });
    assert_eq!(judged(&audience, &token, EXPIRES), Err(Failure::Audience));
}
